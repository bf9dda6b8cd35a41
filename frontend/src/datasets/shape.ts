import type { Schemas } from "@/api";

/** What dataset names may be made of; a file's name becomes one. */
export function nameOf(file: string): string {
  const stem = file.replace(/\.(jsonl|ndjson|json|txt)$/i, "").normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return stem.replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+|[-._]+$/g, "").slice(0, 100);
}

export interface Bar { label: string; rows: number; /** Height, 0 to 1; a row is never invisible. */ height: number; /** All of its rows are cut. */ beyond: boolean }
export interface Shaped { bars: Bar[]; /** Where the mark stands over the bars, 0 to 1; null when it is beyond them. */ mark: number | null }

/** Bars of the same width for ranges that double, and where a length stands between them. */
export function shape(histogram: readonly Schemas["TokenBucket"][], length: number): Shaped {
  const top = Math.max(1, ...histogram.map(({ rows }) => rows));
  const bars = histogram.map(({ from_tokens: from, to_tokens: to, rows }) => ({
    label: from === to ? String(from) : `${from}–${to}`,
    rows,
    height: rows && Math.max(rows / top, 0.02),
    beyond: from > length,
  }));
  const index = histogram.findIndex(({ to_tokens }) => length < to_tokens);
  const bucket = histogram[index];
  if (!bucket) return { bars, mark: null };
  const inside = (length - bucket.from_tokens + 1) / (bucket.to_tokens - bucket.from_tokens + 1);
  return { bars, mark: (index + Math.min(Math.max(inside, 0), 1)) / histogram.length };
}

/** Line numbers as people write them: 3, 7–9, 12. */
export function lines(numbers: readonly number[], most = 8): string {
  const runs: [number, number][] = [];
  for (const line of numbers) {
    const last = runs.at(-1);
    if (last && line === last[1] + 1) last[1] = line;
    else runs.push([line, line]);
  }
  const text = runs.slice(0, most).map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
  return runs.length > most ? `${text} …` : text;
}

export interface Part { label: string; text: string }

/** What a row says, in the shapes that MLX-LM trains on; a line of another shape is shown as it is. */
export function partsOf(line: string): Part[] {
  let row: Record<string, unknown>;
  try {
    row = JSON.parse(line) ?? {};
  } catch {
    return [{ label: "", text: line }];
  }
  if (Array.isArray(row.messages))
    return row.messages.map((turn) => ({ label: String(turn?.role ?? ""), text: written(turn?.content ?? turn?.tool_calls ?? turn) }));
  const named = ["prompt", "completion", "text"].filter((name) => name in row);
  return named.length ? named.map((label) => ({ label, text: written(row[label]) })) : [{ label: "", text: line }];
}

const written = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
