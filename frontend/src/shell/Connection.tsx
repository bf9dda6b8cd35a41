"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { ApiError, useHealth } from "@/api";
import { cn } from "@/lib/cn";
import { word } from "@/lib/format";
import { toast } from "@/ui/layers";

const isOffline = (error: Error | null) => error instanceof ApiError && error.offline;

/** Whether the hub answers, as a dot in the bar. */
export function Connection() {
  const health = useHealth();
  const client = useQueryClient();
  const offline = isOffline(health.error);
  const was = useRef(false);
  useEffect(() => {
    if (was.current && !offline && health.isSuccess) {
      toast("The hub is back.");
      void client.invalidateQueries();
    }
    was.current = offline || (was.current && !health.isSuccess);
  }, [offline, health.isSuccess, client]);

  const ailing = (health.data?.services ?? []).filter(({ status }) => status !== "SERVING_STATUS_SERVING");
  const [text, tone] = offline
    ? ["Offline", "bg-bad"]
    : health.error ? ["Not serving", "bg-bad"]
    : !health.data ? ["Connecting", "bg-line-strong"]
    : ailing.length ? [`${ailing[0]?.name} ${word(ailing[0]?.status, "SERVING_STATUS")}`, "bg-warn"]
    : ["Connected", "bg-ok"];
  return (
    <span role="status" className="inline-flex h-9 items-center gap-2 px-2 text-xs text-muted">
      <span aria-hidden className={cn("size-2 rounded-full", tone)} />
      <span className="max-md:sr-only">{text}</span>
    </span>
  );
}

/** Says so while the hub does not answer; it covers nothing that is used then. */
export function OfflineBanner() {
  if (!isOffline(useHealth().error)) return null;
  return (
    <div role="alert" className="fixed inset-x-0 bottom-20 z-40 mx-auto w-fit max-w-[calc(100vw-2rem)] rounded-full border border-line bg-bad-soft px-4 py-2 text-center text-xs font-medium text-bad shadow-pop md:bottom-4 md:left-56">
      The hub does not answer. What you see is as it was; this page goes on by itself.
    </div>
  );
}
