"use client";

import { Progress as RadixProgress, Tabs as RadixTabs, Toast as RadixToast, Tooltip as RadixTooltip } from "radix-ui";
import { type ReactNode, useSyncExternalStore } from "react";
import { cn } from "@/lib/cn";

/** More about what it wraps, on hover and on focus. What it wraps must take the focus. */
export function Tooltip({ text, children }: { text: ReactNode; children: ReactNode }) {
  return (
    <RadixTooltip.Root>
      <RadixTooltip.Trigger asChild>{children}</RadixTooltip.Trigger>
      <RadixTooltip.Portal>
        <RadixTooltip.Content sideOffset={6} collisionPadding={8} className="z-50 max-w-xs rounded-md bg-ink px-2 py-1 text-xs text-pretty text-canvas shadow-pop">
          {text}
        </RadixTooltip.Content>
      </RadixTooltip.Portal>
    </RadixTooltip.Root>
  );
}

interface TabsProps {
  value: string;
  onValueChange: (value: string) => void;
  tabs: readonly { value: string; label: ReactNode; content: ReactNode }[];
}

export function Tabs({ value, onValueChange, tabs }: TabsProps) {
  return (
    <RadixTabs.Root value={value} onValueChange={onValueChange}>
      <RadixTabs.List className="mb-5 flex gap-5 overflow-x-auto border-b border-line">
        {tabs.map((tab) => (
          <RadixTabs.Trigger key={tab.value} value={tab.value} className="-mb-px border-b-2 border-transparent py-2 text-sm font-medium whitespace-nowrap text-muted transition-colors hover:text-ink data-[state=active]:border-accent data-[state=active]:text-ink">
            {tab.label}
          </RadixTabs.Trigger>
        ))}
      </RadixTabs.List>
      {tabs.map((tab) => (
        <RadixTabs.Content key={tab.value} value={tab.value}>{tab.content}</RadixTabs.Content>
      ))}
    </RadixTabs.Root>
  );
}

/** How much is done, 0 to 1. */
export function Progress({ value, label, className }: { value: number; label: string; className?: string }) {
  const shown = Math.max(0, Math.min(1, value || 0)) * 100;
  return (
    <RadixProgress.Root value={shown} aria-label={label} className={cn("h-1.5 overflow-hidden rounded-full bg-line", className)}>
      <RadixProgress.Indicator className="h-full rounded-full bg-accent-fill transition-[width] duration-300" style={{ width: `${shown}%` }} />
    </RadixProgress.Root>
  );
}

interface Note { id: number; text: string; tone: "ok" | "bad" }
let notes: readonly Note[] = [];
let last = 0;
const listeners = new Set<() => void>();
const set = (next: readonly Note[]) => {
  notes = next;
  for (const tell of listeners) tell();
};

/** Says in a corner that something was done, or why not. */
export const toast = (text: string, tone: Note["tone"] = "ok") => set([...notes.slice(-2), { id: ++last, text, tone }]);

const NONE: readonly Note[] = [];
const subscribe = (tell: () => void) => {
  listeners.add(tell);
  return () => listeners.delete(tell);
};

export function Toaster() {
  const shown = useSyncExternalStore(subscribe, () => notes, () => NONE);
  return (
    <RadixToast.Provider duration={5000} swipeDirection="right">
      {shown.map((note) => (
        <RadixToast.Root key={note.id} onOpenChange={(open) => open || set(notes.filter(({ id }) => id !== note.id))} className="flex items-center gap-3 rounded-lg border border-line bg-surface px-4 py-3 shadow-pop animate-[appear_140ms_ease-out]">
          <span aria-hidden className={cn("size-2 shrink-0 rounded-full", note.tone === "ok" ? "bg-ok" : "bg-bad")} />
          <RadixToast.Description className="text-sm">{note.text}</RadixToast.Description>
        </RadixToast.Root>
      ))}
      <RadixToast.Viewport className="fixed right-4 bottom-20 z-50 flex w-80 max-w-[calc(100vw-2rem)] flex-col gap-2 outline-none md:bottom-4" />
    </RadixToast.Provider>
  );
}

export const LayerProvider = ({ children }: { children: ReactNode }) => (
  <RadixTooltip.Provider delayDuration={300}>{children}<Toaster /></RadixTooltip.Provider>
);
