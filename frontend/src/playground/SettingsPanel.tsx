"use client";

import { RotateCcw } from "lucide-react";
import type { ApiError } from "@/api";
import { ASK_BOUNDS } from "@/api/playground";
import { range, told } from "@/lib/bounds";
import { Button, Card, Field, Input, Slider, Textarea } from "@/ui";
import { LABELS, type Mode, NUMBERS, type Settings } from "./ask";

interface SettingsProps {
  mode: Mode; settings: Settings; wrong: Readonly<Record<string, string>>; refusal: ApiError | null;
  set: (name: string, value: string) => void; reset: () => void;
}

const SLIDERS = new Set(["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"]);

/** What an answer can be asked by, within the contract's bounds. */
export function SettingsPanel({ mode, settings, wrong, refusal, set, reset }: SettingsProps) {
  const shared = (name: string) => ({ name, refusal, error: wrong[name], value: settings[name] ?? "", onChange: (value: string) => set(name, value) });
  return (
    <Card title="Settings" className="lg:sticky lg:top-20 lg:max-h-[calc(100dvh-7rem)] lg:overflow-y-auto" actions={<Button size="sm" variant="ghost" onClick={reset}><RotateCcw aria-hidden />Reset</Button>}>
      <div className="flex flex-col gap-2">
      {mode === "chat" && (
        <Field label="System prompt" hint="What begins each conversation" name="messages" refusal={refusal}>
          <Textarea rows={2} value={settings.system ?? ""} onChange={(event) => set("system", event.target.value)} />
        </Field>
      )}
      {NUMBERS.map((name) => <NumberSetting key={name} {...shared(name)} />)}
      <Field label="Stop strings" hint="One a line; \n is a line's end" name="stop" refusal={refusal} error={wrong.stop}>
        <Textarea rows={2} className="font-mono text-xs" value={settings.stop ?? ""} onChange={(event) => set("stop", event.target.value)} />
      </Field>
      <Field label="JSON schema" hint={told(ASK_BOUNDS.response_schema ?? {})} name="response_schema" refusal={refusal} error={wrong.response_schema}>
        <Textarea rows={4} className="font-mono text-xs" spellCheck={false} placeholder='{"type": "object", …}' value={settings.response_schema ?? ""} onChange={(event) => set("response_schema", event.target.value)} />
      </Field>
      </div>
    </Card>
  );
}

interface NumberProps { name: string; value: string; error: string | undefined; refusal: ApiError | null; onChange: (value: string) => void }

/** A number beside a slider over its range; left empty it takes the default. */
function NumberSetting({ name, value, error, refusal, onChange }: NumberProps) {
  const bound = ASK_BOUNDS[name] ?? {};
  const label = LABELS[name] ?? name;
  const low = bound.minimum ?? bound.exclusiveMinimum ?? 0;
  const usual = bound.default === undefined ? "random" : String(bound.default);
  return (
    <Field name={name} label={<>{label}<span className="font-normal text-muted"> &ensp;{range(bound)}</span></>} refusal={refusal} error={error}>
      <span className="flex items-center gap-3">
        {SLIDERS.has(name) && <Slider label={`${label}, slider`} min={low} max={bound.maximum ?? 1} step={0.05} value={Number(value || bound.default || 0)} onValueChange={(next) => onChange(String(Math.max(next, bound.exclusiveMinimum === undefined ? low : 0.05)))} />}
        <NumberInput wide={!SLIDERS.has(name)} usual={usual} value={value} onChange={onChange} />
      </span>
    </Field>
  );
}

const NumberInput = ({ wide, usual, value, onChange }: { wide: boolean; usual: string; value: string; onChange: (value: string) => void }) => (
  <Input inputMode="decimal" autoComplete="off" className={wide ? undefined : "w-16 shrink-0 px-2 text-right"} placeholder={usual} value={value} onChange={(event) => onChange(event.target.value)} />
);
