"use client";

import "uplot/dist/uPlot.min.css";
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import { cn } from "@/lib/cn";
import { short } from "@/lib/format";
import { onTheme } from "@/lib/theme";
import type { Colour } from "./charts";

export interface Line {
  label: string;
  /** One for each x; null leaves a gap. */
  values: readonly (number | null)[];
  colour?: Colour;
  dashed?: boolean;
  /** Draw the points too: few measurements far apart. */
  points?: boolean;
}

export interface LineChartProps {
  label: string;
  /** Rising: seconds since 1970 with `time`, else steps or versions. */
  x: readonly number[];
  lines: readonly Line[];
  time?: boolean;
  height?: number;
  format?: (value: number) => string;
  /** The x under the pointer in words. Default: local time, or the number. */
  formatX?: (value: number) => string;
  /** The y axis begins at 0. Default true. */
  fromZero?: boolean;
  log?: boolean;
  /** Said in the middle while no line has a value. */
  empty?: string;
}

const ORDER: Colour[] = ["chart-1", "chart-2", "chart-3", "chart-4", "chart-5"];
const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const clock = (seconds: number) => new Date(seconds * 1000).toLocaleTimeString();
const colourOf = (line: Line, index: number) => line.colour ?? ORDER[index % ORDER.length]!;

export default function LineChart(props: LineChartProps) {
  const { label, x, lines, time = false, height = 200, format = short, fromZero = true, log = false } = props;
  const formatX = props.formatX ?? ((value: number) => (time ? clock(value) : String(value)));
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hover, setHover] = useState<number | null>(null);
  const [theme, setTheme] = useState(0);
  useEffect(() => onTheme(() => setTheme((count) => count + 1)), []);

  // What the chart is made of; its points are not.
  const made = JSON.stringify([lines.map((l, i) => [l.label, colourOf(l, i), l.dashed, l.points]), time, height, fromZero, log, theme]);
  const data = [x, ...lines.map((line) => line.values)] as unknown as uPlot.AlignedData;

  useEffect(() => {
    const place = box.current!;
    const axis = { stroke: css("muted"), grid: { stroke: css("line"), width: 1 }, ticks: { show: false }, font: "11px Inter Variable, sans-serif" };
    const options: uPlot.Options = {
      width: place.clientWidth || 300,
      height,
      padding: [8, time ? 28 : 8, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      legend: { show: false },
      scales: {
        x: { time },
        y: log ? { distr: 3 } : { range: (_, low, high) => rangeOf(low, high, fromZero) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 28, ...(time ? { space: 84, values: (u: uPlot, ticks: number[]) => ticks.map((tick) => (u.data[0].length ? clock(tick) : "")) } : { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000] }) },
        { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))) },
      ],
      series: [
        {},
        ...lines.map((line, index) => ({
          label: line.label,
          stroke: css(colourOf(line, index)),
          width: 1.75,
          dash: line.dashed ? [5, 4] : undefined,
          spanGaps: true,
          // A single point has no line that would show it.
          points: { show: (u: uPlot, i: number) => line.points || countOf(u.data[i]!) === 1, size: 5 },
        })),
      ],
      hooks: { setCursor: [(u) => setHover(u.cursor.idx ?? null)] },
    };
    const drawn = new uPlot(options, data, place);
    plot.current = drawn;
    const watch = new ResizeObserver(() => drawn.setSize({ width: place.clientWidth, height }));
    watch.observe(place);
    return () => {
      watch.disconnect();
      drawn.destroy();
      plot.current = null;
    };
    // `data` comes by the effect below: a new point makes no new chart.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [made]);

  useEffect(() => plot.current?.setData(data));

  const index = hover ?? x.length - 1;
  return (
    <figure aria-label={label}>
      <figcaption className={cn("mb-1 flex h-6 items-center gap-x-4 overflow-hidden text-xs", lines.length > 2 && "max-sm:h-11 max-sm:flex-wrap max-sm:content-start")}>
        {lines.map((line, i) => {
          const value = line.values[index];
          return (
            <span key={line.label} className="inline-flex items-center gap-1.5 whitespace-nowrap">
              <span aria-hidden className="h-0.5 w-3 rounded" style={{ background: `var(--${colourOf(line, i)})` }} />
              <span className="text-muted">{line.label}</span>
              <span className="font-medium">{value === null || value === undefined ? "–" : format(value)}</span>
            </span>
          );
        })}
        <span className="ml-auto text-muted">{hover !== null && x[index] !== undefined ? formatX(x[index]) : ""}</span>
      </figcaption>
      <div className="relative">
        <div ref={box} style={{ height }} aria-hidden />
        {props.empty && !lines.some((line) => line.values.some((value) => value !== null)) && (
          <p className="pointer-events-none absolute inset-0 grid place-items-center pl-14 text-xs text-muted"><span className="bg-surface px-2">{props.empty}</span></p>
        )}
      </div>
    </figure>
  );
}

function countOf(values: uPlot.AlignedData[number]) {
  return Array.from(values as ArrayLike<number | null>).filter((value) => value !== null).length;
}

function rangeOf(low: number, high: number, fromZero: boolean): [number, number] {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [fromZero ? Math.min(0, low) : low - pad, high + pad];
}
