/** Prometheus' text, and what can be told from samples of it over time. */

export type Labels = Readonly<Record<string, string>>;

export interface Series {
  labels: Labels;
  value: number;
}

/** All series of one look, by metric name. */
export interface Sample {
  /** Seconds since 1970. */
  time: number;
  metrics: ReadonlyMap<string, readonly Series[]>;
}

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;

export function parse(text: string): Map<string, Series[]> {
  const found = new Map<string, Series[]>();
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const match = LINE.exec(line);
    if (!match) continue;
    const [, name = "", raw = "", value = ""] = match;
    const labels: Record<string, string> = {};
    for (const [, key = "", quoted = ""] of raw.matchAll(LABEL)) labels[key] = unquote(quoted);
    const list = found.get(name);
    const series = { labels, value: numberOf(value) };
    if (list) list.push(series);
    else found.set(name, [series]);
  }
  return found;
}

const unquote = (text: string) => text.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));

const numberOf = (text: string) =>
  text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);

/** Adds up all series of a name that have these labels; undefined when there is none. */
export function sum(sample: Sample | undefined, name: string, where: Labels = {}): number | undefined {
  const series = (sample?.metrics.get(name) ?? []).filter(({ labels }) => has(labels, where));
  return series.length ? series.reduce((total, { value }) => total + value, 0) : undefined;
}

/** A metric's values by one of its labels. */
export function labelled(sample: Sample, name: string, label: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { labels, value } of sample.metrics.get(name) ?? []) {
    const key = labels[label] ?? "";
    found[key] = (found[key] ?? 0) + value;
  }
  return found;
}

const has = (labels: Labels, where: Labels) =>
  Object.entries(where).every(([key, value]) => labels[key] === value);

/**
 * What each series of a counter rose by between two looks. One that began again, or is new, counts from 0;
 * of a service that the earlier look could not read nothing is known.
 */
function* rises(before: Sample | undefined, after: Sample, name: string, where: Labels): Iterable<Series> {
  const known = new Map<string, number>();
  for (const { labels, value } of before?.metrics.get(name) ?? []) known.set(keyOf(labels), value);
  for (const { labels, value } of after.metrics.get(name) ?? []) {
    if (!has(labels, where)) continue;
    const then = known.get(keyOf(labels)) ?? 0;
    const unread = before && labels.service !== undefined && sum(before, "mlx_hub_service_up", { service: labels.service }) === 0;
    yield { labels, value: unread ? 0 : value < then ? value : value - then };
  }
}

const keyOf = (labels: Labels) => Object.values(labels).join("\n");

/** How fast a counter rose between two looks, per second. */
export function rate(before: Sample, after: Sample, name: string, where: Labels = {}): number {
  const seconds = after.time - before.time;
  let rise = 0;
  for (const { value } of rises(before, after, name, where)) rise += value;
  return seconds > 0 ? rise / seconds : 0;
}

/** A histogram's quantile over what came between two looks; undefined when nothing came. */
export function quantile(
  q: number,
  before: Sample | undefined,
  after: Sample,
  name: string,
  where: Labels = {},
): number | undefined {
  const counts = buckets(before, after, `${name}_bucket`, where);
  const total = counts.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  const wanted = q * total;
  let low = 0;
  let below = 0;
  for (const { bound, count } of counts) {
    if (count >= wanted) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (wanted - below)) / Math.max(count - below, 1e-12);
    }
    low = bound;
    below = count;
  }
  return low;
}

function buckets(before: Sample | undefined, after: Sample, name: string, where: Labels) {
  const counts = new Map<number, number>();
  for (const { labels, value } of rises(before, after, name, where)) {
    const bound = numberOf(labels.le ?? "");
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  const sorted = [...counts].map(([bound, count]) => ({ bound, count }));
  return sorted.sort((a, b) => a.bound - b.bound);
}
