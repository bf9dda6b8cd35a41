/** Numbers and times as people read them. All of it is in the reader's own language and time zone. */

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** Bytes in powers of 1000, three digits: 118.8 MB. */
export function bytes(value: number): string {
  let rest = Math.abs(value);
  let unit = 0;
  while (rest >= 999.5 && unit < UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || rest >= 99.95 ? 0 : 1;
  return `${value < 0 ? "−" : ""}${rest.toFixed(digits)} ${UNITS[unit]}`;
}

/** A number with grouped thousands, at most this many digits behind the point. */
export function number(value: number, digits = 0): string {
  return value.toLocaleString(undefined, { maximumFractionDigits: digits });
}

/** A number in few characters: 0.693, 1.2 k, 3.4e-5. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return "–";
  if (size >= 10_000) return value.toLocaleString(undefined, { notation: "compact", maximumFractionDigits: 1 });
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return value.toLocaleString(undefined, { maximumSignificantDigits: 4 });
}

export const percent = (part: number, digits = 0) => `${(part * 100).toFixed(digits).replace("-", "−")} %`;

/** Seconds as 45 ms, 3.2 s, 4 min 5 s, 2 h 3 min, 3 d 4 h. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(whole, 60, "min", "s");
  if (whole < 86_400) return pair(Math.round(whole / 60), 60, "h", "min");
  return pair(Math.round(whole / 3600), 24, "d", "h");
}

function pair(total: number, base: number, large: string, little: string): string {
  const rest = total % base;
  const first = `${Math.floor(total / base)} ${large}`;
  return rest ? `${first} ${rest} ${little}` : first;
}

/** How long ago, or in how long: 5 min ago, in 2 h. */
export function relative(when: Date, now: Date = new Date()): string {
  const seconds = (now.getTime() - when.getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const [step, unit] =
    size < 60 ? [1, "s"] : size < 3600 ? [60, "min"] : size < 86_400 ? [3600, "h"] : [86_400, "d"];
  const text = `${Math.round(size / (step as number))} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** Date and time to the second, with the zone. */
export const exact = (when: Date) => when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });

/** An enum's name as words: JOB_STATUS_RUNNING after JOB_STATUS → running. */
export const word = (name: string | undefined, prefix: string) =>
  (name ?? "").replace(`${prefix}_`, "").toLowerCase().replaceAll("_", " ");
