"use client";

import { useMemo } from "react";
import { quantile, rate, type Sample, useMetrics } from "@/api";
import { duration, number } from "@/lib/format";
import { Card, ErrorState, LineChart } from "@/ui";

const WINDOW = 15; // looks, about half a minute: what is far apart can't be told from noise in less

/** Tokens a second and the time to the first token, live. */
export function Speed() {
  const { samples, error } = useMetrics();
  const seen = useMemo(() => speeds(samples), [samples]);
  if (error && !samples.length) return <Card title="Speed"><ErrorState error={error} /></Card>;
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <Card title="Tokens per second" hint="Generated and trained on, while this page is open">
        <LineChart label="Tokens per second" time height={180} x={seen.x} format={(value) => number(value, 2)} lines={[{ label: "Generated", values: seen.generated }, { label: "Trained", values: seen.trained }]} />
      </Card>
      <Card title="Time to first token" hint="Of the answers of the last half minute">
        <LineChart label="Time to first token" time height={180} x={seen.x} format={duration} empty="No answer in the last half minute" lines={[{ label: "Median", values: seen.median }, { label: "95th percentile", values: seen.slow, colour: "chart-3" }]} />
      </Card>
    </div>
  );
}

/** The four lines, one point for each look after the first. */
export function speeds(samples: readonly Sample[]) {
  const x: number[] = [];
  const generated: number[] = [];
  const trained: number[] = [];
  const median: (number | null)[] = [];
  const slow: (number | null)[] = [];
  samples.forEach((sample, index) => {
    if (!index) return;
    const before = samples[Math.max(0, index - 3)]!;
    const earlier = samples[Math.max(0, index - WINDOW)]!;
    x.push(sample.time);
    generated.push(rate(before, sample, "mlx_hub_engine_generated_tokens_total"));
    trained.push(rate(before, sample, "mlx_hub_training_tokens_total"));
    median.push(quantile(0.5, earlier, sample, "mlx_hub_inference_ttft_seconds") ?? null);
    slow.push(quantile(0.95, earlier, sample, "mlx_hub_inference_ttft_seconds") ?? null);
  });
  return { x, generated, trained, median, slow };
}
