"use client";

import { CircleAlert, type LucideIcon, Unplug } from "lucide-react";
import type { ReactNode } from "react";
import { asApiError } from "@/api/errors";
import { cn } from "@/lib/cn";
import { Button } from "./button";
import { Copy } from "./values";

export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={cn("skeleton rounded-md", className)} />;
}

/** Nothing is here yet: what would be, and how to begin. */
export function Empty({ icon: Icon, title, children, action }: { icon?: LucideIcon; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="flex flex-col items-center px-6 py-10 text-center">
      {Icon && <Icon aria-hidden className="mb-3 size-6 text-muted" strokeWidth={1.5} />}
      <p className="font-medium">{title}</p>
      {children && <div className="mt-1 max-w-md text-pretty text-muted">{children}</div>}
      {action && <div className="mt-4">{action}</div>}
    </div>
  );
}

const TO_DO: Record<string, string> = {
  API_KEY_REFUSED: "Give an API key that this hub knows.",
  SCOPE_MISSING: "Use a key with the scope that is named above.",
  RATE_LIMITED: "Too much was asked at once. Wait a moment.",
  QUEUE_FULL: "Everything is busy. Try again in a moment.",
  OUT_OF_MEMORY: "Unload a model, or ask for less.",
  DEPENDENCY_UNAVAILABLE: "A service is away; Overview shows which.",
};

/** What went wrong, why, what to do, and the id under which the hub's logs have it. */
export function ErrorState({ error, retry, className }: { error: unknown; retry?: () => void; className?: string }) {
  const found = asApiError(error);
  const Icon = found.offline ? Unplug : CircleAlert;
  const todo = found.offline ? "Start it by `mlx-hub up`; this page goes on by itself." : TO_DO[found.reason];
  return (
    <div role="alert" className={cn("flex flex-col items-center px-6 py-10 text-center", className)}>
      <Icon aria-hidden className="mb-3 size-6 text-bad" strokeWidth={1.5} />
      <p className="max-w-lg font-medium break-words">{found.message}</p>
      {todo && <p className="mt-1 text-muted">{todo}</p>}
      {Object.entries(found.fields).map(([field, text]) => (
        <p key={field} className="mt-1 text-muted"><code className="font-mono text-xs">{field}</code> {text}</p>
      ))}
      <p className="mt-2 flex flex-wrap items-center justify-center gap-x-3 text-xs text-muted">
        {found.reason && <code className="font-mono">{found.reason}</code>}
        {found.requestId && <span className="inline-flex items-center gap-1">request {found.requestId.slice(0, 8)}<Copy text={found.requestId} label="Copy the request id" /></span>}
      </p>
      {retry && <Button size="sm" className="mt-4" onClick={retry}>Try again</Button>}
    </div>
  );
}
