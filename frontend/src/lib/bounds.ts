/** Bounds of a form's fields as the contract has them, and what a text in such a field means. */

export interface Bound {
  type?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  default?: string | number | boolean;
  enum?: readonly (string | number)[];
  maxItems?: number;
  maxLength?: number;
  maxProperties?: number;
  /** Of an object's values. */
  additionalProperties?: Bound;
  description?: string;
}

const INT32 = 2_147_483_647;

/** `1 to 256`, `above 0, at most 1`; empty where there is no bound that a person would meet. */
export function range(bound: Bound): string {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = bound;
  const high = maximum === INT32 ? undefined : maximum;
  if (minimum !== undefined && high !== undefined) return `${minimum} to ${high}`.replaceAll("-", "−");
  const low = minimum !== undefined ? `from ${minimum}` : exclusiveMinimum !== undefined ? `above ${exclusiveMinimum}` : "";
  const top = high !== undefined ? `at most ${high}` : exclusiveMaximum !== undefined ? `below ${exclusiveMaximum}` : "";
  return [low, top].filter(Boolean).join(", ");
}

/** What is wrong with a number's text; undefined when nothing is. An empty text takes the default. */
export function wrong(bound: Bound, text: string): string | undefined {
  if (!text.trim()) return undefined;
  const value = Number(text);
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = bound;
  if (!Number.isFinite(value)) return "Give a number.";
  if (bound.type === "integer" && !Number.isInteger(value)) return "Give a whole number.";
  if (value < minimum || value > maximum || value <= exclusiveMinimum || value >= exclusiveMaximum) return `Give a number ${range(bound) || `up to ${maximum}`}.`;
  return undefined;
}

/** The description without what the field shows anyway: its default. */
export const told = (bound: Bound) =>
  (bound.description ?? "").replace(/\s*\bDefault[: ](?:[^.]|\.(?=\d))*\.(?=\s|$)/g, "").trim();
