"use client";

import { useSyncExternalStore } from "react";
import { call } from "./client";
import { asApiError, type ApiError } from "./errors";
import { parse, type Sample } from "./prometheus";

/** The last looks at /metrics, oldest first, and why there is no new one. */
export interface Metrics {
  samples: readonly Sample[];
  error: ApiError | null;
}

export const EVERY_MS = 2000;
const KEPT = 450; // 15 minutes

/** One ring for the whole page, filled while somebody looks; it stays when a page is left. */
export class MetricsRing {
  private state: Metrics = { samples: [], error: null };
  private listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly read: () => Promise<string>) {}

  get = () => this.state;

  subscribe = (tell: () => void) => {
    this.listeners.add(tell);
    if (this.listeners.size === 1) void this.look();
    return () => {
      this.listeners.delete(tell);
      if (!this.listeners.size) clearTimeout(this.timer);
    };
  };

  private async look(): Promise<void> {
    clearTimeout(this.timer);
    try {
      const metrics = parse(await this.read());
      const samples = [...this.state.samples, { time: Date.now() / 1000, metrics }];
      this.state = { samples: samples.slice(-KEPT), error: null };
    } catch (thrown) {
      this.state = { ...this.state, error: asApiError(thrown) };
    }
    for (const tell of this.listeners) tell();
    clearTimeout(this.timer);
    if (this.listeners.size) this.timer = setTimeout(() => void this.look(), EVERY_MS);
  }
}

const ring = new MetricsRing(async () => (await call("/metrics")).text());
const NONE: Metrics = { samples: [], error: null };

/** Gives /metrics of the last minutes, every two seconds one look more. */
export function useMetrics(): Metrics {
  return useSyncExternalStore(ring.subscribe, ring.get, () => NONE);
}
