"use client";

import { ChevronRight, RotateCcw } from "lucide-react";
import dynamic from "next/dynamic";
import { type ReactNode, useEffect, useId, useState } from "react";
import type { ApiError } from "@/api";
import { ASK_BOUNDS } from "@/api/playground";
import { range } from "@/lib/bounds";
import { cn } from "@/lib/cn";
import { Badge, Button, Card, Field, Input, Skeleton, Slider, Textarea } from "@/ui";
import { active, LABELS, type Mode, NUMBERS, type Part, PARTS, type Settings } from "./settings";

export interface PartProps {
  settings: Settings; wrong: Readonly<Record<string, string>>; refusal: ApiError | null;
  set: (name: string, value: string) => void;
}

interface SettingsProps extends PartProps { mode: Mode; reset: () => void }

const SLIDERS = new Set(["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"]);
const loading = () => <Skeleton className="h-24" />;
const more = () => import("./MoreSettings");
const OutputSettings = dynamic(() => more().then((made) => made.OutputSettings), { ssr: false, loading });
const ProbabilitySettings = dynamic(() => more().then((made) => made.ProbabilitySettings), { ssr: false, loading });
const ToolSettings = dynamic(() => more().then((made) => made.ToolSettings), { ssr: false, loading });
const BiasSettings = dynamic(() => more().then((made) => made.BiasSettings), { ssr: false, loading });

/** What an answer can be asked by, within the contract's bounds. */
export function SettingsPanel({ mode, reset, ...props }: SettingsProps) {
  const { settings, refusal, set } = props;
  const sections: readonly [Part, string, ReactNode][] = [
    ["sampling", "Sampling", <SamplingSettings key="sampling" {...props} />],
    ["output", "Output", <OutputSettings key="output" {...props} />],
    ["probabilities", "Probabilities", <ProbabilitySettings key="probabilities" {...props} />],
    ...(mode === "chat" ? [["tools", "Tools", <ToolSettings key="tools" {...props} />] as [Part, string, ReactNode]] : []),
    ["biases", "Token biases", <BiasSettings key="biases" {...props} />],
  ];
  return (
    <Card title="Settings" className="lg:sticky lg:top-20 lg:max-h-[calc(100dvh-7rem)] lg:overflow-y-auto" actions={<Button size="sm" variant="ghost" onClick={reset}><RotateCcw aria-hidden />Reset</Button>}>
      {mode === "chat" && (
        <Field className="mb-2" label="System prompt" hint="What begins each conversation" name="messages" refusal={refusal}>
          <Textarea rows={2} value={settings.system ?? ""} onChange={(event) => set("system", event.target.value)} />
        </Field>
      )}
      {sections.map(([part, title, content]) => <Section key={part} title={title} part={part} mode={mode} {...props}>{content}</Section>)}
    </Card>
  );
}

/** What is set, for where the panel itself is not shown. */
export function Active({ mode, settings, wrong, refusal, reset }: Omit<SettingsProps, "set">) {
  const set = active(settings, mode);
  if (!set.length) return null;
  return (
    <div className="mb-3 flex items-center gap-2">
      <ul aria-label="Settings in force" className="flex min-w-0 flex-1 flex-wrap gap-1">
        {set.map(({ part, text }) => <li key={text} className="max-w-full"><Badge tone={isWrong(part, wrong, refusal) ? "bad" : "accent"} className="max-w-full"><span className="truncate">{text}</span></Badge></li>)}
      </ul>
      <Button size="sm" variant="ghost" onClick={reset}><RotateCcw aria-hidden />Reset</Button>
    </div>
  );
}

const isWrong = (part: Part, wrong: PartProps["wrong"], refusal: ApiError | null) => PARTS[part].some((name) => wrong[name] ?? refusal?.at(name));

interface SectionProps extends PartProps { title: string; part: Part; mode: Mode; children: ReactNode }

/** A part of the panel; closed it says what is set in it. What is wrong in it opens it. */
function Section({ title, part, mode, settings, wrong, refusal, children }: SectionProps) {
  const [open, setOpen] = useState(part === "sampling");
  const id = useId();
  const bad = isWrong(part, wrong, refusal);
  useEffect(() => {
    if (bad) setOpen(true);
  }, [bad]);
  const set = active(settings, mode).filter((one) => one.part === part).map(({ text }) => text).join(" · ");
  return (
    <section className="border-t border-line py-1 first:border-t-0">
      <h3>
        <button type="button" aria-expanded={open} aria-controls={open ? id : undefined} onClick={() => setOpen(!open)} className="flex min-h-9 w-full items-center gap-1.5 text-left text-xs font-semibold">
          <ChevronRight aria-hidden className={cn("size-3.5 shrink-0 text-muted transition-transform", open && "rotate-90")} />
          {title}
          {!open && set && <span className="ml-auto min-w-0 truncate pl-2 font-medium text-accent" title={set}>{set}</span>}
        </button>
      </h3>
      {open && <div id={id} className="flex flex-col gap-2 pt-1 pb-2">{children}</div>}
    </section>
  );
}

function SamplingSettings({ settings, wrong, refusal, set }: PartProps) {
  return (
    <>
      {NUMBERS.map((name) => <NumberSetting key={name} name={name} refusal={refusal} error={wrong[name]} value={settings[name] ?? ""} onChange={(value) => set(name, value)} />)}
      <Field label="Stop strings" hint="One a line; \n is a line's end" name="stop" refusal={refusal} error={wrong.stop}>
        <Textarea rows={2} className="font-mono text-xs" value={settings.stop ?? ""} onChange={(event) => set("stop", event.target.value)} />
      </Field>
    </>
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
