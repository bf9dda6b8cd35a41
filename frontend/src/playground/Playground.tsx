"use client";

import { Columns2, Eraser, MessageSquare, Settings2, X } from "lucide-react";
import Link from "next/link";
import { Suspense, useEffect, useState } from "react";
import { flat, useModels } from "@/api";
import { cn } from "@/lib/cn";
import { useUrl } from "@/lib/url";
import { Button, Card, Empty, ErrorState, PageHeader, Skeleton } from "@/ui";
import type { Side } from "./ask";
import { Composer } from "./Composer";
import { keepSettings, keptSettings } from "./kept";
import { faults, type Mode, type Settings } from "./settings";
import { Active, SettingsPanel } from "./SettingsPanel";
import { SidePicker } from "./SidePicker";
import { Turns } from "./Turns";
import { useConversation } from "./useConversation";

/** `?model=3&version=latest` is asked, beside it `&model2=` and `&version2=`; `&mode=completion` continues a text. */
export function Playground() {
  return <Suspense fallback={<Waiting />}><Shown /></Suspense>;
}

const Waiting = () => <><Skeleton className="mb-6 h-11 w-64" /><Skeleton className="mb-4 h-16 rounded-xl" /><Skeleton className="h-96 rounded-xl" /></>;

function Shown() {
  const models = useModels();
  const list = flat(models, "models");
  if (models.error && !models.data) return <><Header /><Card><ErrorState error={models.error} retry={() => void models.refetch()} /></Card></>;
  if (!models.data) return <Waiting />;
  if (!list.length) return <><Header /><Card><Empty icon={MessageSquare} title="There is no model to ask" action={<Button asChild size="sm"><Link prefetch={false} href="/models/">Models</Link></Button>}>Register one over an imported base model; it answers before it was ever trained.</Empty></Card></>;
  return <Talk first={list[0]!.id ?? 0} names={new Map(list.map(({ id, name }) => [id ?? 0, name ?? ""]))} />;
}

const Header = ({ actions }: { actions?: React.ReactNode }) => <PageHeader title="Playground" hint="Ask a model, or two versions of it side by side" actions={actions} />;

function Talk({ first, names }: { first: number; names: ReadonlyMap<number, string> }) {
  const [params, setParams] = useUrl();
  const talk = useConversation();
  const [settings, setSettings] = useState<Settings>({});
  const [shown, setShown] = useState(false);
  useEffect(() => setSettings(keptSettings()), []);

  const mode: Mode = params.get("mode") === "completion" ? "completion" : "chat";
  const left: Side = { model: Number(params.get("model")) || first, version: params.get("version") ?? "" };
  const two = !!params.get("version2") || !!params.get("model2");
  const sides: Side[] = two ? [left, { model: Number(params.get("model2")) || left.model, version: params.get("version2") ?? "" }] : [left];
  const wrong = faults(settings, mode);
  const good = !Object.keys(wrong).length;
  const change = (next: Settings) => {
    setSettings(next);
    keepSettings(next);
    talk.forgive();
  };
  const reset = () => change({});
  const named = ({ model, version }: Side) => `${names.get(model) ?? `model ${model}`}${version ? `:${version}` : ""}`;
  const asking = { mode, sides, names: sides.map(named), settings };
  const shared = { mode, settings, wrong, refusal: talk.refusal, reset };
  return (
    <>
      <Header actions={
        <>
          <Modes mode={mode} onChange={(next) => setParams({ mode: next === "chat" ? "" : next })} />
          {!two && <Button onClick={() => setParams({ model: String(left.model), model2: String(left.model), version2: "base" })}><Columns2 aria-hidden />Side by side</Button>}
          <Button className="lg:hidden" aria-expanded={shown} onClick={() => setShown(!shown)}><Settings2 aria-hidden />Settings</Button>
          <Button disabled={!talk.turns.length} onClick={talk.clear}><Eraser aria-hidden />Clear</Button>
        </>
      } />
      {!shown && <div className="lg:hidden"><Active {...shared} /></div>}
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_17rem]">
        <div className="flex min-h-[calc(100dvh-22rem)] min-w-0 flex-col lg:min-h-[calc(100dvh-13.5rem)]">
          <div className={cn("grid gap-3", two && "sm:grid-cols-2")}>
            <SidePicker label={two ? "Left" : "Model"} side={left} names={names} onChange={({ model, version }) => setParams({ model: String(model), version })} />
            {two && <SidePicker label="Right" side={sides[1]!} names={names} onChange={({ model, version }) => setParams({ model2: String(model), version2: version })} action={<Button variant="ghost" size="icon" aria-label="Close the right side" onClick={() => setParams({ model2: "", version2: "" })}><X aria-hidden /></Button>} />}
          </div>
          <Turns turns={talk.turns} mode={mode} two={two} onReply={mode === "chat" && good && !talk.busy ? (index, results) => talk.reply(index, results, asking) : undefined} />
          <Composer mode={mode} busy={talk.busy} wrong={!good} onStop={talk.stop} onAsk={(prompt) => talk.ask(prompt, asking)} />
        </div>
        <div className={cn("min-w-0 max-lg:order-first", !shown && "max-lg:hidden")}>
          <SettingsPanel {...shared} set={(name, value) => change({ ...settings, [name]: value })} />
        </div>
      </div>
    </>
  );
}

function Modes({ mode, onChange }: { mode: Mode; onChange: (mode: Mode) => void }) {
  return (
    <div role="group" aria-label="Mode" className="flex h-9 rounded-md border border-line bg-surface p-0.5">
      {(["chat", "completion"] as const).map((one) => (
        <button key={one} type="button" aria-pressed={mode === one} onClick={() => onChange(one)} className={cn("rounded-[5px] px-3 text-sm font-medium capitalize", mode === one ? "bg-accent-soft text-accent" : "text-muted hover:text-ink")}>{one}</button>
      ))}
    </div>
  );
}
