"use client";

import { Pause, Play } from "lucide-react";
import { useRouter, useSearchParams } from "next/navigation";
import { useState } from "react";
import { type Sample, useMetrics } from "@/api";
import { Button, Card, ErrorState, LineChart, PageHeader, Select } from "@/ui";
import { shown } from "./lines";
import { type Panel, SECTIONS } from "./panels";

const WINDOWS = ["1", "5", "15"].map((value) => ({ value, label: `Last ${value} min` }));

/** What /metrics tells, as live lines; while it is paused the looks go on and are drawn afterwards. */
export function Metrics() {
  const { samples, error } = useMetrics();
  const [held, setHeld] = useState<readonly Sample[] | null>(null);
  const [minutes, choose] = useMinutes();
  const looks = held ?? samples;
  return (
    <>
      <PageHeader
        title="Metrics"
        hint={held ? "Paused: what comes meanwhile is kept" : "Read every two seconds while this page or Overview is open"}
        actions={
          <>
            <Select aria-label="Time shown" className="w-36" value={minutes} onValueChange={choose} options={WINDOWS} />
            <Button className="w-28" aria-pressed={!!held} onClick={() => setHeld(held ? null : samples)}>
              {held ? <Play aria-hidden /> : <Pause aria-hidden />}{held ? "Go on" : "Pause"}
            </Button>
          </>
        }
      />
      {error && !samples.length ? <Card><ErrorState error={error} /></Card> : SECTIONS.map(({ title, panels }) => (
        <section key={title} aria-label={title} className="mb-8">
          <h2 className="mb-3 text-sm font-semibold text-muted">{title}</h2>
          <div className="grid gap-4 lg:grid-cols-2">
            {panels.map((panel) => <PanelCard key={panel.title} panel={panel} samples={looks} seconds={Number(minutes) * 60} />)}
          </div>
        </section>
      ))}
    </>
  );
}

function PanelCard({ panel, samples, seconds }: { panel: Panel; samples: readonly Sample[]; seconds: number }) {
  const { x, lines } = shown(panel, samples, seconds);
  return (
    <Card title={panel.title} hint={panel.hint}>
      <LineChart label={panel.title} time height={140} x={x} lines={lines} format={panel.format} fromZero={!panel.floats} empty={samples.length > 1 ? panel.empty : "No data yet"} />
    </Card>
  );
}

/** The window stands in the URL. */
function useMinutes() {
  const router = useRouter();
  const asked = useSearchParams().get("minutes");
  const minutes = WINDOWS.some(({ value }) => value === asked) ? asked! : "5";
  return [minutes, (value: string) => router.replace(`/metrics/?minutes=${value}`, { scroll: false })] as const;
}
