import type { ReactNode } from "react";
import { cn } from "@/lib/cn";

interface CardProps {
  title?: ReactNode;
  hint?: ReactNode;
  /** Buttons and links at the right of the title. */
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
  /** Without padding, for tables and lists. */
  flush?: boolean;
}

export function Card({ title, hint, actions, children, className, flush }: CardProps) {
  return (
    <section className={cn("min-w-0 rounded-xl border border-line bg-surface", className)}>
      {title && (
        <header className="flex min-h-12 flex-wrap items-center justify-between gap-x-4 gap-y-1 px-5 pt-3 pb-1">
          <div className="min-w-0">
            <h2 className="text-sm font-semibold">{title}</h2>
            {hint && <p className="text-xs text-muted">{hint}</p>}
          </div>
          {actions && <div className="flex items-center gap-2">{actions}</div>}
        </header>
      )}
      <div className={flush ? "pb-1" : "px-5 pt-2 pb-5"}>{children}</div>
    </section>
  );
}

/** One number that matters, with what it is and what it means. */
export function Stat({ label, value, note }: { label: string; value: ReactNode; note?: ReactNode }) {
  return (
    <div className="min-w-0">
      <div className="text-xs text-muted">{label}</div>
      <div className="mt-1 h-8 truncate text-2xl font-semibold tracking-tight">{value}</div>
      <div className="mt-0.5 h-4 truncate text-xs text-muted">{note}</div>
    </div>
  );
}

/** The top of a page: its only h1. */
export function PageHeader({ title, hint, actions }: { title: ReactNode; hint?: ReactNode; actions?: ReactNode }) {
  return (
    <div className="mb-6 flex min-h-11 flex-wrap items-end justify-between gap-3">
      <div className="min-w-0">
        <h1 className="truncate text-xl font-semibold tracking-tight">{title}</h1>
        {hint && <div className="mt-0.5 text-sm text-muted">{hint}</div>}
      </div>
      {actions && <div className="flex flex-wrap gap-2">{actions}</div>}
    </div>
  );
}
