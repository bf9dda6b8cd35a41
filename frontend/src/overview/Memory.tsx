"use client";

import { useMemo } from "react";
import { type Sample, type Schemas, sum, useEngines, useMetrics } from "@/api";
import { bytes, percent } from "@/lib/format";
import { Bytes, Card, ErrorState, type Part, Skeleton, StackedBar, StatusBadge } from "@/ui";

type Engine = Schemas["Engine"];

/** The memory budget by who has it, and beneath it what each was forecast and what was measured. */
export function Memory() {
  const { samples, error } = useMetrics();
  const budget = useMemo(() => budgetOf(samples.findLast((sample) => budgetOf(sample))), [samples]);
  return (
    <Card
      className="h-full"
      title="Memory budget"
      hint={budget ? `${bytes(budget.free)} of ${bytes(budget.total)} may be taken` : "What engines and training may hold together"}
    >
      {budget ? <StackedBar label="Memory budget" parts={partsOf(budget)} total={budget.total} format={bytes} />
        : error && !samples.length ? <ErrorState error={error} className="py-2" />
        : <><Skeleton className="h-4" /><Skeleton className="mt-3 h-4 w-2/3" /></>}
      <Holders last={samples.at(-1)} jobs={budget?.jobs ?? 0} />
      <Objections />
    </Card>
  );
}

/** Each engine and the training worker: what it was forecast to hold, and what was measured. */
function Holders({ last, jobs }: { last: Sample | undefined; jobs: number }) {
  const engines = useEngines();
  const list = engines.data?.engines ?? [];
  const running = (sum(last, "mlx_hub_training_running") ?? 0) > 0;
  if (engines.error && !engines.data) return <ErrorState error={engines.error} retry={() => void engines.refetch()} />;
  if (!engines.data) return <Skeleton className="mt-6 h-16" />;
  return (
    <table className="mt-5 w-full table-fixed text-xs">
      <thead>
        <tr className="text-left text-muted [&>th]:pb-2 [&>th]:font-normal">
          <th>Holder</th><th className="w-20 text-right">Forecast</th><th className="w-20 text-right">Peak</th><th className="w-20 text-right max-sm:hidden">Now</th><th className="w-20 text-right max-sm:hidden">Off by</th>
        </tr>
      </thead>
      <tbody className="[&_td]:h-8 [&_td]:border-t [&_td]:border-line">
        {list.map((engine) => <EngineRow key={engine.base_model} engine={engine} />)}
        {running && (
          <tr>
            <td className="font-medium">Training</td>
            <td className="text-right"><Bytes value={sum(last, "mlx_hub_training_forecast_bytes") || jobs} /></td>
            <td className="text-right"><Bytes value={sum(last, "mlx_hub_training_peak_memory_bytes") ?? 0} /></td>
            <td className="text-right text-muted max-sm:hidden">–</td>
            <td className="text-right text-muted max-sm:hidden">–</td>
          </tr>
        )}
        {!list.length && !running && <tr><td colSpan={5} className="text-muted">Nothing is in memory. A model is loaded when it is first asked.</td></tr>}
      </tbody>
    </table>
  );
}

/** What speaks against the draft models as they are set. */
function Objections() {
  const told = (useEngines().data?.draft_pairs ?? []).filter(({ reason }) => reason);
  return told.map(({ base_model, reason }) => <p key={base_model} className="mt-3 text-xs break-words text-warn">{reason}</p>);
}

function EngineRow({ engine }: { engine: Engine }) {
  const measured = !!engine.peak_bytes;
  return (
    <tr>
      <td className="pr-3">
        <span className="flex gap-x-2 gap-y-1 py-1 max-sm:flex-col max-sm:items-start sm:items-center"><span className="max-w-full truncate font-medium" title={engine.base_model}>{engine.base_model}</span><StatusBadge status={engine.state} prefix="ENGINE_STATE" /></span>
        {engine.draft_model && <span className="block truncate pb-1 text-muted" title={engine.draft_model}>draft model {engine.draft_model}</span>}
      </td>
      <td className="text-right"><Bytes value={engine.forecast_bytes ?? 0} /></td>
      <td className="text-right">{measured ? <Bytes value={engine.peak_bytes ?? 0} /> : "–"}</td>
      <td className="text-right max-sm:hidden">{engine.active_bytes ? <Bytes value={engine.active_bytes} /> : "–"}</td>
      <td className="text-right text-muted max-sm:hidden">{measured ? percent(engine.forecast_error ?? 0) : "–"}</td>
    </tr>
  );
}

export interface Budget { total: number; free: number; engines: number; jobs: number }

/** The budget as a look tells it; undefined where it does not. */
export function budgetOf(sample: Sample | undefined): Budget | undefined {
  const total = sum(sample, "mlx_hub_memory_budget_bytes");
  const free = sum(sample, "mlx_hub_memory_free_bytes");
  if (total === undefined || free === undefined) return undefined;
  const leased = (holder: string) => sum(sample, "mlx_hub_memory_leased_bytes", { holder }) ?? 0;
  return { total, free, engines: leased("engine"), jobs: leased("job") };
}

/** Engines and training by their leases; what other programs keep from the budget is told apart from free. */
export function partsOf({ total, free, engines, jobs }: Budget): Part[] {
  const others = total - engines - jobs - free;
  return [
    { label: "Engines", value: engines, colour: "chart-1" },
    { label: "Training", value: jobs, colour: "chart-2" },
    ...(others > 1e6 ? [{ label: "Other programs", value: others, colour: "chart-5" } as const] : []),
    { label: "Free", value: free, colour: "muted" },
  ];
}
