"use client";

import { Check, Copy as CopyIcon } from "lucide-react";
import { useEffect, useState } from "react";
import { cn } from "@/lib/cn";
import * as format from "@/lib/format";

/** Copies a text; says so for a moment. */
export function Copy({ text, label = "Copy", className }: { text: string; label?: string; className?: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  const Icon = done ? Check : CopyIcon;
  return (
    <button
      type="button"
      aria-label={done ? "Copied" : label}
      title={label}
      className={cn("inline-grid size-6 shrink-0 place-items-center rounded text-muted hover:bg-raised hover:text-ink", className)}
      onClick={() => void navigator.clipboard.writeText(text).then(() => setDone(true))}
    >
      <Icon aria-hidden className={cn("size-3.5", done && "text-ok")} />
    </button>
  );
}

/** A digest by its first characters; whole in the title, and to be copied. */
export function Digest({ value, length = 12 }: { value: string; length?: number }) {
  return (
    <span className="inline-flex items-center gap-0.5">
      <code className="font-mono text-xs" title={value}>{value.slice(0, length)}</code>
      <Copy text={value} label="Copy the whole digest" />
    </span>
  );
}

/** A moment, told relative to now; exact, in local time, in the title. */
export function Time({ value }: { value: string | undefined | null }) {
  const [now, setNow] = useState<Date | null>(null);
  useEffect(() => {
    setNow(new Date());
    const timer = setInterval(() => setNow(new Date()), 15_000);
    return () => clearInterval(timer);
  }, []);
  if (!value) return <span className="text-muted">–</span>;
  const when = new Date(value);
  return (
    <time dateTime={value} title={format.exact(when)} className="whitespace-nowrap">
      {now ? format.relative(when, now) : "…"}
    </time>
  );
}

export const Bytes = ({ value }: { value: number }) => (
  <span title={`${format.number(value)} bytes`} className="whitespace-nowrap">{format.bytes(value)}</span>
);

export const Duration = ({ seconds }: { seconds: number }) => (
  <span title={`${seconds} s`} className="whitespace-nowrap">{format.duration(seconds)}</span>
);
