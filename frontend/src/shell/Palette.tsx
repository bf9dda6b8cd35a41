"use client";

import { Boxes, Database, GraduationCap, type LucideIcon, Search } from "lucide-react";
import { useRouter } from "next/navigation";
import { type KeyboardEvent, useMemo, useState } from "react";
import { flat, useDatasets, useJobs, useModels } from "@/api";
import { cn } from "@/lib/cn";
import { word } from "@/lib/format";
import { Dialog } from "@/ui/dialog";
import { PAGES } from "./pages";

interface Entry { href: string; label: string; note: string; icon: LucideIcon }
const MOST = 12;

export default function Palette({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const router = useRouter();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const entries = useEntries();
  const wanted = text.trim().toLowerCase();
  const found = entries.filter((entry) => `${entry.label} ${entry.note}`.toLowerCase().includes(wanted)).slice(0, MOST);
  const chosen = Math.min(at, found.length - 1);

  const go = (entry: Entry | undefined) => {
    if (!entry) return;
    onOpenChange(false);
    router.push(entry.href);
  };
  const press = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt((chosen + step + found.length) % Math.max(found.length, 1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      go(found[chosen]);
    }
  };
  return (
    <Dialog bare open={open} onOpenChange={onOpenChange} title="Jump to" hint="A page, model, dataset or job">
      <div className="flex items-center gap-3 border-b border-line px-4">
        <Search aria-hidden className="size-4 text-muted" />
        <input
          role="combobox" aria-expanded aria-controls="palette" aria-label="Jump to" aria-activedescendant={found.length ? `palette-${chosen}` : undefined}
          value={text} onChange={(event) => { setText(event.target.value); setAt(0); }} onKeyDown={press}
          placeholder="Page, model, dataset or job" className="h-12 w-full bg-transparent text-sm outline-none placeholder:text-muted"
        />
      </div>
      <div id="palette" role="listbox" aria-label="Where to" className="h-80 overflow-y-auto p-2">
        {found.map(({ href, label, note, icon: Icon }, index) => (
          <div key={href} id={`palette-${index}`} role="option" aria-selected={index === chosen} onClick={() => go(found[index])} onMouseMove={() => setAt(index)} className={cn("flex h-10 cursor-pointer items-center gap-3 rounded-md px-3", index === chosen && "bg-raised")}>
            <Icon aria-hidden className="size-4 shrink-0 text-muted" strokeWidth={1.75} />
            <span className="truncate">{label}</span>
            <span className="ml-auto pl-4 text-xs whitespace-nowrap text-muted">{note}</span>
          </div>
        ))}
      </div>
      {!found.length && <p className="absolute inset-x-0 top-24 text-center text-muted">Nothing has this name.</p>}
    </Dialog>
  );
}

function useEntries(): Entry[] {
  const models = useModels();
  const datasets = useDatasets();
  const jobs = useJobs();
  return useMemo(() => {
    const name = new Map(flat(models, "models").map((model) => [model.id, model.name ?? ""]));
    return [
      ...PAGES.map(({ href, label, icon }) => ({ href, label, icon, note: "page" })),
      ...flat(models, "models").map((m) => ({ href: `/models/?id=${m.id}`, label: m.name ?? "", note: "model", icon: Boxes })),
      ...flat(jobs, "jobs").map((j) => ({
        href: `/training/?id=${j.id}`, label: `Job ${j.id} · ${name.get(j.model_id) ?? `model ${j.model_id}`}`, note: word(j.status, "JOB_STATUS"), icon: GraduationCap,
      })),
      ...flat(datasets, "datasets").map((d) => ({ href: `/datasets/?id=${d.id}`, label: d.name ?? "", note: "dataset", icon: Database })),
    ];
  }, [models, datasets, jobs]);
}
