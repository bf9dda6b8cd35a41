"use client";

import { useEffect, useRef, useState } from "react";
import { asApiError, type ApiError } from "./errors";
import { frames } from "./sse";

/** `live`: each frame as it comes. `polling`: the stream broke, so it is asked for every few seconds. */
export type LiveMode = "connecting" | "live" | "polling" | "ended";

export interface LiveOptions<T> {
  /** The stream's path; it is asked again after every break with the last sequence that came. */
  path: (afterSequence: number) => string;
  /** Takes a frame in; gives its sequence, or nothing when it has none. */
  onFrame: (frame: T) => number | undefined | void;
  /** Tells whether the stream ends with this frame for good. */
  isLast: (frame: T) => boolean;
  /** Asks by plain REST while the stream is away; true ends it all. */
  poll: () => Promise<boolean | void>;
  enabled?: boolean;
  pollMs?: number;
  /** How long to poll before the stream is tried again. */
  retryMs?: number;
}

/** Follows a stream; polls while it is broken, and says which of both it does. */
export function useLive<T>(options: LiveOptions<T>): { mode: LiveMode; error: ApiError | null } {
  const [state, setState] = useState<{ mode: LiveMode; error: ApiError | null }>({
    mode: "connecting",
    error: null,
  });
  const latest = useRef(options);
  latest.current = options;
  const { enabled = true } = options;
  const start = options.path(0);

  useEffect(() => {
    if (!enabled) return;
    const stop = new AbortController();
    setState({ mode: "connecting", error: null });
    void follow(latest, stop.signal, (mode, error = null) => {
      if (stop.signal.aborted) return;
      // A frame that changes nothing here draws nothing anew.
      setState((now) => (now.mode === mode && now.error === error ? now : { mode, error }));
    });
    return () => stop.abort();
  }, [enabled, start]);

  return state;
}

type Tell = (mode: LiveMode, error?: ApiError | null) => void;

async function follow<T>(latest: { current: LiveOptions<T> }, signal: AbortSignal, tell: Tell) {
  let after = 0;
  while (!signal.aborted) {
    try {
      for await (const frame of frames<T>(latest.current.path(after), { signal })) {
        tell("live");
        after = Math.max(after, latest.current.onFrame(frame) || 0);
        if (latest.current.isLast(frame)) return tell("ended");
      }
      tell("polling");
    } catch (thrown) {
      if (signal.aborted) return;
      tell("polling", asApiError(thrown));
    }
    if (await pollForAWhile(latest, signal)) return tell("ended");
  }
}

async function pollForAWhile<T>(latest: { current: LiveOptions<T> }, signal: AbortSignal) {
  const { pollMs = 2000, retryMs = 10_000 } = latest.current;
  for (let waited = 0; waited < retryMs && !signal.aborted; waited += pollMs) {
    if (await latest.current.poll().catch(() => false)) return true;
    await new Promise((done) => setTimeout(done, pollMs));
  }
  return false;
}
