import type { Schemas } from "@/api";
import { word } from "@/lib/format";

const number = (text: string | undefined) => (text === undefined ? "" : String(Number(Number(text).toPrecision(5))));

/** An event as a sentence that goes on after the version's name, and what else is to be known. */
export function tell({ type, details = {}, version }: Pick<Schemas["ModelEvent"], "type" | "details" | "version">): { text: string; more?: string } {
  const what = word(type, "MODEL_EVENT_TYPE");
  const { alias, from, metric, value } = details;
  const before = from && from !== "0" ? `before: v${from}` : undefined;
  switch (what) {
    case "created": return { text: "The model was made" };
    case "trained": return { text: `came from job ${details.job_id ?? "?"}` };
    case "promoted": return { text: `was promoted to ${alias}`, more: [verdict(details), before].filter(Boolean).join(" · ") || undefined };
    case "rolled back": return { text: `got ${alias} back`, more: before };
    case "alias deleted": return { text: `lost the alias ${alias}` };
    case "evaluated": return { text: `${version ? "was evaluated" : "The base model was evaluated"}: ${metric} ${number(value)}`, more: details.dataset_id && `on dataset ${details.dataset_id}${details.split ? `, ${word(details.split, "EVALUATION_SPLIT")}` : ""}` };
    case "gate set": return { text: "The promotion gate was set", more: metric && `${metric}, tolerance ${number(details.tolerance ?? "0")}` };
    case "gate deleted": return { text: "The promotion gate was removed" };
    case "updated": return { text: `The model was changed${details.fields ? `: ${details.fields}` : ""}` };
    default: return { text: version ? `was ${what}` : `The model was ${what}` };
  }
}

/** What the gate compared when it let a promotion through. */
export function verdict(facts: Readonly<Record<string, string>>): string | undefined {
  const { metric, value, reference, reference_value, tolerance } = facts;
  if (!metric || value === undefined) return undefined;
  if (reference_value === undefined) return `the gate saw ${metric} ${number(value)}, and nothing to compare it with`;
  const other = reference === "base" ? "the base model" : `v${reference}`;
  return `through the gate: ${metric} ${number(value)} against ${number(reference_value)} of ${other}, tolerance ${number(tolerance)}`;
}
