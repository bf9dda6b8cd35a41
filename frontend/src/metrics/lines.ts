import type { Sample } from "@/api";
import type { Looks, Panel, Point } from "./panels";

const FEW_S = 6; // a rate over one look alone jumps
const HALF_MINUTE_S = 30;

/** What a panel shows of some looks: one x for each look, one value of each line for each x. */
export interface Shown { x: number[]; lines: { label: string; values: (number | null)[]; dashed: boolean }[] }

const reckoned = new WeakMap<Panel, WeakMap<Sample, Point>>();

/** Gives a panel's point of a look; each is reckoned once, for a look never changes. */
function pointOf(panel: Panel, looks: Looks): Point {
  const points = reckoned.get(panel) ?? new WeakMap<Sample, Point>();
  reckoned.set(panel, points);
  const point = points.get(looks.now) ?? panel.point(looks);
  points.set(looks.now, point);
  return point;
}

/** Gives the panel's lines over the last `seconds` of what was seen. */
export function shown(panel: Panel, samples: readonly Sample[], seconds: number): Shown {
  const from = (samples.at(-1)?.time ?? 0) - seconds;
  const x: number[] = [];
  const points: Point[] = [];
  samples.forEach((now, index) => {
    if (now.time < from) return;
    x.push(now.time);
    points.push(pointOf(panel, { now, before: since(samples, index, FEW_S), earlier: since(samples, index, HALF_MINUTE_S) }));
  });
  const labels = [...new Set(points.flatMap((point) => Object.keys(point)))];
  const lines = labels.map((label) => ({
    label, dashed: /forecast|size|budget/i.test(label), values: points.map((point) => point[label] ?? null),
  }));
  return { x, lines };
}

/** The oldest look that is at most so many seconds before this one, but not this one; the first has none before. */
function since(samples: readonly Sample[], index: number, seconds: number): Sample {
  let at = Math.max(0, index - 1);
  while (at > 0 && samples[index]!.time - samples[at - 1]!.time <= seconds) at -= 1;
  return samples[at]!;
}
