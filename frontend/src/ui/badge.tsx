import type { ReactNode } from "react";
import { cn } from "@/lib/cn";
import { word } from "@/lib/format";

export type Tone = "ok" | "warn" | "bad" | "info" | "accent";

const TONES: Record<Tone, string> = {
  ok: "bg-ok-soft text-ok",
  warn: "bg-warn-soft text-warn",
  bad: "bg-bad-soft text-bad",
  info: "bg-info-soft text-info",
  accent: "bg-accent-soft text-accent",
};

export function Badge({ tone = "info", dot, children, className }: { tone?: Tone; dot?: boolean; children: ReactNode; className?: string }) {
  return (
    <span className={cn("inline-flex h-5 items-center gap-1.5 rounded-full px-2 text-2xs font-medium whitespace-nowrap", TONES[tone], className)}>
      {dot && <span aria-hidden className="size-1.5 rounded-full bg-current" />}
      {children}
    </span>
  );
}

const TONE_OF: Record<string, Tone> = {
  serving: "ok", "not serving": "bad", completed: "ok", ready: "ok", running: "accent", busy: "accent",
  loading: "accent", queued: "info", pending: "info", archived: "info", stopping: "warn", cancelled: "warn",
  stalled: "warn", restarting: "warn", failed: "bad",
};

/** The state of a job, version, engine or service, by the contract's enum name. */
export function StatusBadge({ status, prefix }: { status: string | undefined; prefix: "JOB_STATUS" | "VERSION_STATUS" | "ENGINE_STATE" | "SERVING_STATUS" }) {
  const text = word(status, prefix) || "unknown";
  return <Badge dot tone={TONE_OF[text] ?? "info"}>{text}</Badge>;
}
