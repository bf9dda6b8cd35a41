"use client";

import { Plus, X } from "lucide-react";
import { ASK_BOUNDS, TOOL_BOUNDS } from "@/api/playground";
import { range, told } from "@/lib/bounds";
import { Button, Field, Input, NumberField, Select, Switch, Textarea } from "@/ui";
import type { PartProps } from "./SettingsPanel";
import { CALL, CHOICES, LABELS, namesOf, OUTPUTS, type Pair, pairsOf } from "./settings";

const UNSET = "unset"; // a Select's value may not be empty
const code = "font-mono text-xs";

const WRITTEN: Readonly<Record<string, { hint: string; placeholder: string; rows: number }>> = {
  response_schema: { hint: told(ASK_BOUNDS.response_schema!), placeholder: '{"type": "object", …}', rows: 6 },
  regex: { hint: told(ASK_BOUNDS.regex!), placeholder: "[A-Z]{3}-[0-9]+", rows: 2 },
  choice: { hint: "One a line; \\n is a line's end", placeholder: "yes\nno", rows: 4 },
};

/** What the whole answer is held to: nothing, or one of three. What was written for another stays. */
export function OutputSettings({ settings, wrong, refusal, set }: PartProps) {
  const name = settings.output ?? "";
  const written = WRITTEN[name];
  return (
    <>
      <Field label="The answer is" hint={written ? undefined : "Whatever the model says"}>
        <Select value={name || UNSET} onValueChange={(value) => set("output", value === UNSET ? "" : value)} options={[{ value: UNSET, label: "Free text" }, ...Object.entries(OUTPUTS).map(([value, label]) => ({ value, label }))]} />
      </Field>
      {written && (
        <Field label={name === "choice" ? "Choices" : OUTPUTS[name as keyof typeof OUTPUTS]} hint={written.hint} name={name} refusal={refusal} error={wrong[name]}>
          <Textarea rows={written.rows} className={code} spellCheck={false} maxLength={ASK_BOUNDS[name]?.maxLength} placeholder={written.placeholder} value={settings[name] ?? ""} onChange={(event) => set(name, event.target.value)} />
        </Field>
      )}
    </>
  );
}

/** Whether each token's probability is told, and how many others at its place. */
export function ProbabilitySettings({ settings, refusal, set }: PartProps) {
  const on = !!settings.logprobs;
  return (
    <>
      <Field label="Log probabilities" hint={told(ASK_BOUNDS.logprobs!)} name="logprobs" refusal={refusal}>
        <Switch checked={on} onCheckedChange={(next) => set("logprobs", next ? "true" : "")} />
      </Field>
      {on && <NumberField name="top_logprobs" label={LABELS.top_logprobs} hint="So many of the likeliest at each place" bound={ASK_BOUNDS.top_logprobs!} value={settings.top_logprobs ?? ""} refusal={refusal} onChange={(value) => set("top_logprobs", value)} />}
    </>
  );
}

/** What the model may call, as JSON, and whether it must. */
export function ToolSettings({ settings, wrong, refusal, set }: PartProps) {
  const names = namesOf(settings.tools);
  const choice = settings.tool_choice ?? "";
  const options = [
    { value: UNSET, label: "The model decides" }, ...Object.entries(CHOICES).map(([value, label]) => ({ value, label })),
    // A choice stays one, though its tool was taken out: the field says so.
    ...[...new Set([...names, ...(choice.startsWith(CALL) ? [choice.slice(CALL.length)] : [])])].map((name) => ({ value: CALL + name, label: `Must call ${name}` })),
  ];
  return (
    <>
      <Field label="Tools" hint={`A list in JSON; each has ${Object.keys(TOOL_BOUNDS).join(", ")}`} name="tools" refusal={refusal} error={wrong.tools}>
        <Textarea rows={8} className={code} spellCheck={false} placeholder={'[{\n  "name": "weather",\n  "description": "…",\n  "parameters": {"type": "object", …}\n}]'} value={settings.tools ?? ""} onChange={(event) => set("tools", event.target.value)} />
      </Field>
      <Field label="Tool choice" hint={choice && choice !== "TOOL_CHOICE_NONE" ? "After a result, too: to have it answered, let the model decide" : undefined} name={choice.startsWith(CALL) ? "required_tool" : "tool_choice"} refusal={refusal} error={wrong.tool_choice}>
        <Select value={choice || UNSET} onValueChange={(value) => set("tool_choice", value === UNSET ? "" : value)} options={options} />
      </Field>
    </>
  );
}

/** Token ids and what is added to their logits, a row each. */
export function BiasSettings({ settings, wrong, refusal, set }: PartProps) {
  const pairs = pairsOf(settings.logit_bias);
  const bound = ASK_BOUNDS.logit_bias!;
  const fault = wrong.logit_bias ?? refusal?.at("logit_bias");
  const write = (next: readonly Pair[]) => set("logit_bias", next.length ? JSON.stringify(next) : "");
  const change = (at: number, pair: Pair) => write(pairs.map((old, index) => (index === at ? pair : old)));
  const shared = { autoComplete: "off", "aria-describedby": "logit-bias-hint", "aria-invalid": fault ? (true as const) : undefined };
  return (
    <fieldset className="min-w-0">
      <legend className="mb-1.5 text-xs font-medium">Biases<span className="font-normal text-muted"> &ensp;{range(bound.additionalProperties!)}</span></legend>
      <div className="grid gap-2">
        {pairs.map(([id, bias], at) => (
          <div key={at} className="flex items-center gap-2">
            <Input {...shared} inputMode="numeric" aria-label={`Token id ${at + 1}`} placeholder="token id" className="px-2" value={id} onChange={(event) => change(at, [event.target.value, bias])} />
            <Input {...shared} inputMode="decimal" aria-label={`Bias ${at + 1}`} placeholder="bias" className="px-2" value={bias} onChange={(event) => change(at, [id, event.target.value])} />
            <Button size="icon" variant="ghost" aria-label={`Remove bias ${at + 1}`} onClick={() => write(pairs.filter((_, index) => index !== at))}><X aria-hidden /></Button>
          </div>
        ))}
        <div><Button size="sm" variant="ghost" disabled={pairs.length >= (bound.maxProperties ?? Infinity)} onClick={() => write([...pairs, ["", ""]])}><Plus aria-hidden />Add a bias</Button></div>
      </div>
      <p id="logit-bias-hint" className={fault ? "mt-1 text-xs text-pretty break-words text-bad" : "mt-1 text-xs text-pretty text-muted"}>{fault ?? "Added to a token's logit. An answer's tokens tell their ids, with probabilities on."}</p>
    </fieldset>
  );
}
