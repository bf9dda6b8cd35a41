"use client";

import dynamic from "next/dynamic";
import type { CSSProperties } from "react";
import { cn } from "@/lib/cn";
import type { LineChartProps } from "./line-chart";

/** uPlot comes when a chart is shown, and not with the page. */
const Drawn = dynamic(() => import("./line-chart"), { ssr: false });

export const COLOURS = ["chart-1", "chart-2", "chart-3", "chart-4", "chart-5"] as const;
export type Colour = (typeof COLOURS)[number] | "muted";

/** Lines over x. It takes its final size at once; new points are drawn without a new chart. */
export function LineChart(props: LineChartProps) {
  const least = { "--least": `${(props.height ?? 200) + 28}px` } as CSSProperties;
  return (
    // On a narrow screen the legend of many lines takes two rows.
    <div style={least} className={cn("min-h-(--least)", props.lines.length > 2 && "max-sm:min-h-[calc(var(--least)+1.25rem)]")}>
      <Drawn {...props} />
    </div>
  );
}

export interface Part { label: string; value: number; colour: Colour; note?: string }

const FILL: Record<Colour, string> = {
  "chart-1": "bg-chart-1", "chart-2": "bg-chart-2", "chart-3": "bg-chart-3",
  "chart-4": "bg-chart-4", "chart-5": "bg-chart-5", muted: "bg-raised",
};

interface StackedBarProps { label: string; parts: readonly Part[]; total: number; format: (value: number) => string }

/** Parts of a whole, as one bar with its legend. */
export function StackedBar({ label, parts, total, format }: StackedBarProps) {
  return (
    <figure aria-label={label}>
      <div aria-hidden className="flex h-4 gap-px overflow-hidden rounded-md bg-raised">
        {parts.filter((p) => p.value > 0).map((part) => (
          <div key={part.label} title={`${part.label}: ${format(part.value)}`} className={cn("h-full min-w-0.5 transition-[width] duration-300", FILL[part.colour])} style={{ width: `${(part.value / Math.max(total, 1)) * 100}%` }} />
        ))}
      </div>
      <figcaption className="mt-3 flex flex-wrap gap-x-6 gap-y-2">
        {parts.map((part) => (
          <span key={part.label} className="inline-flex items-baseline gap-2 text-xs">
            <span aria-hidden className={cn("size-2 rounded-[2px]", FILL[part.colour], part.colour === "muted" && "outline outline-line-strong")} />
            <span className="text-muted">{part.label}</span>
            <span className="font-medium">{format(part.value)}</span>
            {part.note && <span className="text-muted">{part.note}</span>}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

export interface Bin { from: number; to: number; count: number }

/** Counts by range; `mark` draws a line at a value, such as the longest that is kept. */
export function Histogram({ label, bins, mark, height = 140 }: { label: string; bins: readonly Bin[]; mark?: { value: number; label: string }; height?: number }) {
  const top = Math.max(1, ...bins.map((bin) => bin.count));
  const low = bins[0]?.from ?? 0;
  const high = bins.at(-1)?.to ?? 1;
  const at = mark && ((mark.value - low) / Math.max(high - low, 1)) * 100;
  return (
    <figure aria-label={label}>
      <div className="relative flex items-end gap-px border-b border-line" style={{ height }}>
        {bins.map((bin) => (
          <div key={bin.from} title={`${bin.from} to ${bin.to}: ${bin.count}`} className="min-h-px flex-1 rounded-t-[2px] bg-chart-1" style={{ height: `${(bin.count / top) * 100}%` }} />
        ))}
        {mark && at !== undefined && at <= 100 && (
          <div className="absolute inset-y-0 border-l border-dashed border-bad" style={{ left: `${at}%` }}>
            <span className="absolute top-0 left-1.5 text-2xs whitespace-nowrap text-bad">{mark.label}</span>
          </div>
        )}
      </div>
      <figcaption className="mt-1 flex justify-between text-2xs text-muted"><span>{low}</span><span>{high}</span></figcaption>
      <table className="sr-only">
        <caption>{label}</caption>
        <tbody>{bins.map((bin) => <tr key={bin.from}><th scope="row">{`${bin.from} to ${bin.to}`}</th><td>{bin.count}</td></tr>)}</tbody>
      </table>
    </figure>
  );
}
