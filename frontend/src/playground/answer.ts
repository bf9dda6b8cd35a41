/** One answer while it is made: a pure reduction of its stream's frames. */

import type { Schemas } from "@/api";
import { fromBody } from "@/api/errors";
import type { AnswerFrame, TokenLogprob, ToolCall } from "@/api/playground";

export type Phase = "asked" | "loading" | "streaming" | "done" | "stopped" | "cut" | "failed";

export interface Refused { message: string; reason: string; requestId: string }

export interface Answer {
  phase: Phase;
  text: string;
  tokens: number;
  /** Milliseconds from the question to the first text, as this page saw it; null before. */
  firstMs: number | null;
  /** Tokens a second since the first text, as this page saw it. */
  speed: number | null;
  loading: Schemas["Loading"] | null;
  completion: Schemas["Completion"] | null;
  error: Refused | null;
  /** How likely each token was, where that was asked for. */
  logprobs: readonly TokenLogprob[];
  /** What the model asks its caller to call, and what the caller answered; none until it did. */
  calls: readonly ToolCall[];
  results: readonly string[];
  /** What answered, as it was asked for: its model and version. */
  of: string;
}

export const asked = (of: string): Answer => ({ phase: "asked", text: "", tokens: 0, firstMs: null, speed: null, loading: null, completion: null, error: null, logprobs: [], calls: [], results: [], of });

export const isOver = ({ phase }: Answer) => phase !== "asked" && phase !== "loading" && phase !== "streaming";

/** Takes frames in. `elapsed` is the milliseconds since the question. */
export function reduce(before: Answer, frames: readonly AnswerFrame[], elapsed: number): Answer {
  const after = { ...before };
  for (const { delta, completion, error, loading, tool_call } of frames) {
    if (loading) Object.assign(after, { phase: "loading", loading });
    if (delta) {
      after.phase = "streaming";
      after.loading = null;
      after.text += delta.text ?? "";
      after.tokens = delta.tokens ?? after.tokens;
      if (after.firstMs === null) after.firstMs = elapsed;
      const seconds = (elapsed - after.firstMs) / 1000;
      if (seconds > 0.2) after.speed = after.tokens / seconds;
      if (delta.logprobs?.length) after.logprobs = [...after.logprobs, ...delta.logprobs];
    }
    if (tool_call) Object.assign(after, { phase: "streaming", loading: null, calls: [...after.calls, tool_call] });
    if (completion) {
      const { logprobs = [], tool_calls = [] } = completion;
      Object.assign(after, { phase: "done", loading: null, completion: { ...completion, logprobs: [] }, logprobs, calls: tool_calls, text: completion.text ?? after.text, tokens: completion.tokens ?? 0, firstMs: completion.ttft_ms ?? after.firstMs, speed: speedOf(completion) ?? after.speed });
    }
    if (error) {
      const found = fromBody(error);
      Object.assign(after, { phase: "failed", loading: null, error: { message: found.message, reason: found.reason, requestId: found.requestId } });
    }
  }
  return after;
}

/** Tokens a second after the first text; a call comes whole at its end, so there it tells nothing. */
function speedOf({ latency_ms, ttft_ms, tokens, tool_calls = [] }: Schemas["Completion"]): number | null {
  const seconds = (latency_ms - ttft_ms) / 1000;
  return seconds > 0 && tokens > 1 && !tool_calls.length ? (tokens - 1) / seconds : null;
}

/** The stream has ended: one that told no end was cut. */
export const close = (answer: Answer): Answer => (isOver(answer) ? answer : { ...answer, phase: "cut", loading: null });

/** The reader has had enough. */
export const stop = (answer: Answer): Answer => (isOver(answer) ? answer : { ...answer, phase: "stopped", loading: null });

const STAGES: Record<string, string> = {
  LOADING_STAGE_QUEUED: "Waits until others give memory back", LOADING_STAGE_VERIFYING: "Verifies every file of the model",
  LOADING_STAGE_WEIGHTS: "Loads the weights", LOADING_STAGE_WARMING_UP: "Warms up",
};

/** What is going on before the first text, in words. */
export const waiting = ({ loading, phase }: Answer) =>
  phase === "asked" ? "Reads the prompt" : `${STAGES[loading?.stage ?? ""] ?? "Loads the model"}${loading?.share ? `, ${Math.round(loading.share * 100)} %` : ""}`;
