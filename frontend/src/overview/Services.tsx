"use client";

import { type Sample, sum, useHealth, useMetrics } from "@/api";
import { bytes, duration } from "@/lib/format";
import { Card, ErrorState, Skeleton, StatusBadge } from "@/ui";

const NAMES = ["registry", "trainer", "inference"] as const;
const DOES = { registry: "Models, versions, datasets", trainer: "Training jobs", inference: "Answers" };

/** Each service's state, with how long it has run and what memory its process takes. */
export function Services() {
  const health = useHealth();
  const { samples } = useMetrics();
  const last = samples.at(-1);
  if (health.error && !health.data) return <Card title="Services"><ErrorState error={health.error} retry={() => void health.refetch()} /></Card>;
  return (
    <div className="grid gap-4 sm:grid-cols-3">
      {NAMES.map((name) => {
        const found = health.data?.services?.find((service) => service.name === name);
        return (
          <section key={name} aria-label={name} className="rounded-xl border border-line bg-surface px-5 py-4">
            <div className="flex h-6 items-center justify-between gap-2">
              <h2 className="font-semibold capitalize">{name}</h2>
              {health.data ? <StatusBadge status={found?.status} prefix="SERVING_STATUS" /> : <Skeleton className="h-5 w-16 rounded-full" />}
            </div>
            <p className="mt-0.5 text-xs text-muted">{DOES[name]}</p>
            <p className="mt-3 h-4 text-xs text-muted">{last ? process(last, name) : ""}</p>
          </section>
        );
      })}
    </div>
  );
}

function process(sample: Sample, service: string): string {
  const started = sum(sample, "process_start_time_seconds", { service });
  const held = sum(sample, "process_resident_memory_bytes", { service });
  if (!started) return "no measurements";
  return `up ${duration(Math.max(1, sample.time - started))}${held ? ` · ${bytes(held)} of memory` : ""}`;
}
