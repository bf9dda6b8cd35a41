"use client";

import { MemoryStick } from "lucide-react";
import type { ApiError, Schemas } from "@/api";
import { bytes, number } from "@/lib/format";
import { Badge, Button, Card, Skeleton, StackedBar } from "@/ui";
import { LABELS } from "./recipe";

interface ForecastProps {
  forecast: Schemas["ForecastTrainingResponse"] | undefined;
  error: ApiError | null;
  /** Model and dataset are chosen, and no number is wrong. */
  asked: boolean;
  fetching: boolean;
  onAdvice: (field: string, value: string) => void;
}

/** What the job would hold at its peak, beside what there is; with what would lower it. */
export function Forecast({ forecast, error, asked, fetching, onAdvice }: ForecastProps) {
  return (
    <Card title="Memory forecast" hint="What the job would hold at its peak" className="lg:sticky lg:top-20">
      <div className="min-h-64" aria-live="polite" aria-busy={fetching}>
        {!asked ? <p className="flex items-center gap-2 text-xs text-muted"><MemoryStick aria-hidden className="size-4" />Choose a model and a dataset; it comes before anything is queued.</p>
          : error ? <p role="alert" className="text-sm text-pretty text-bad">{error.message}</p>
          : !forecast ? <><Skeleton className="h-8 w-32" /><Skeleton className="mt-4 h-4" /><Skeleton className="mt-3 h-20" /></>
          : <Told found={forecast} onAdvice={onAdvice} />}
      </div>
    </Card>
  );
}

function Told({ found, onAdvice }: { found: Schemas["ForecastTrainingResponse"]; onAdvice: ForecastProps["onAdvice"] }) {
  const { process_bytes = 0, weight_bytes = 0, optimizer_bytes = 0, activation_bytes = 0, total_bytes = 0, rows, tokens } = found.forecast ?? {};
  const { budget_bytes = 0, free_bytes = 0 } = found.room ?? {};
  return (
    <>
      <div className="mb-4 flex flex-wrap items-baseline justify-between gap-2">
        <span className="text-2xl font-semibold tracking-tight">{bytes(total_bytes)}</span>
        {found.fits_now ? <Badge dot tone="ok">fits now</Badge> : found.fits_ever ? <Badge dot tone="warn">waits for memory</Badge> : <Badge dot tone="bad">more than there is</Badge>}
      </div>
      <StackedBar
        label="Forecast by what it is for" format={bytes} total={Math.max(budget_bytes, total_bytes)}
        parts={[
          { label: "Process", value: process_bytes, colour: "chart-5" }, { label: "Weights", value: weight_bytes, colour: "chart-1" },
          { label: "Optimizer", value: optimizer_bytes, colour: "chart-2" }, { label: "Activations", value: activation_bytes, colour: "chart-3" },
        ]}
      />
      <p className="mt-4 text-xs text-pretty text-muted">{bytes(free_bytes)} of the budget of {bytes(budget_bytes)} are free. Made for batches of {number(rows ?? 0)} rows, the longest of {number(tokens ?? 0)} tokens.</p>
      {!!found.advice?.length && (
        <div className="mt-4 border-t border-line pt-3">
          <h3 className="mb-2 text-xs font-semibold">What would lower it</h3>
          <ul className="flex flex-col gap-1.5">
            {found.advice.map(({ field = "", value = 0, total_bytes: total = 0 }) => {
              const text = field === "grad_checkpoint" ? String(value > 0) : String(value);
              const said = field === "grad_checkpoint" ? "on" : field === "quantize_bits" ? `${value} bits` : text;
              return (
                <li key={field} className="flex items-center justify-between gap-2 text-xs">
                  <span className="min-w-0 text-muted">{LABELS[field] ?? field} {said}: <span className="font-medium text-ink">{bytes(total)}</span></span>
                  <Button size="sm" aria-label={`Set ${LABELS[field] ?? field} to ${said}`} onClick={() => onAdvice(field, text)}>Set</Button>
                </li>
              );
            })}
          </ul>
        </div>
      )}
    </>
  );
}
