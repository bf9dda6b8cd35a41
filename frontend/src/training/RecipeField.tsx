"use client";

import type { ApiError } from "@/api";
import { JOB_BOUNDS } from "@/api/training";
import { told } from "@/lib/bounds";
import { Field, NumberField, Select, Textarea } from "@/ui";
import { applies, type Form, LABELS, spoken } from "./recipe";

const DEFAULT = "default";

interface RecipeFieldProps { name: string; form: Form; set: (name: string, value: string) => void; refusal: ApiError | null }

/** One field of the recipe, as its kind in the contract wants it. */
export function RecipeField({ name, form, set, refusal }: RecipeFieldProps) {
  const bound = JOB_BOUNDS[name] ?? {};
  const value = form[name] ?? "";
  const label = LABELS[name] ?? name;
  const off = !applies(name, form);
  if (bound.enum || bound.type === "boolean") {
    const values = bound.enum?.map(String) ?? ["true", "false"];
    const say = (one: string) => (one === "true" ? "yes" : one === "false" ? "no" : name === "quantize_bits" ? (one === "0" ? "as it is stored" : `${one} bits`) : spoken(one));
    const usual = bound.default === undefined ? "as the hub decides" : say(String(bound.default));
    return (
      <Field name={name} label={label} hint={told(bound)} refusal={refusal}>
        <Select disabled={off} value={value || DEFAULT} onValueChange={(next) => set(name, next === DEFAULT ? "" : next)} options={[{ value: DEFAULT, label: usual, note: "default" }, ...values.filter((one) => one !== String(bound.default)).map((one) => ({ value: one, label: say(one) }))]} />
      </Field>
    );
  }
  if (bound.type === "array")
    return (
      <Field name={name} label={label} hint={told(bound)} refusal={refusal} className="sm:col-span-2">
        <Textarea rows={2} disabled={off} value={value} placeholder={name === "target_keys" ? "all" : "one a line"} onChange={(event) => set(name, event.target.value)} />
      </Field>
    );
  return <NumberField name={name} label={label} bound={bound} value={value} onChange={(next) => set(name, next)} refusal={refusal} disabled={off} />;
}
