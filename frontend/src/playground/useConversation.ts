"use client";

import { useEffect, useRef, useState } from "react";
import { ApiError, asApiError } from "@/api";
import { answer as stream, type AnswerFrame } from "@/api/playground";
import { type Answer, asked, close, isOver, reduce, stop } from "./answer";
import { changed, request, type Side, type Turn } from "./ask";
import { keep, kept } from "./kept";
import type { Mode, Settings } from "./settings";

const DRAW_MS = 50; // text is drawn twenty times a second, however fast it comes

export interface Asking { mode: Mode; sides: readonly Side[]; names: readonly string[]; settings: Settings }

/** The turns so far, and what begins, goes on with, ends and forgets them. They outlive a reload of the tab. */
export function useConversation() {
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const [refusal, setRefusal] = useState<ApiError | null>(null);
  const running = useRef<AbortController | null>(null);
  const busy = turns.some((turn) => !turn.answers.flat().every(isOver));

  useEffect(() => {
    setTurns(kept());
    return () => running.current?.abort();
  }, []);
  useEffect(() => {
    if (turns.length && !busy) keep(turns);
  }, [turns, busy]);

  /** Shows these turns, and has the last one's answer made at each of these sides. */
  const go = (next: readonly Turn[], indices: readonly number[], { mode, sides, settings }: Asking) => {
    running.current = new AbortController();
    const { signal } = running.current;
    const { id } = next.at(-1)!;
    setRefusal(null);
    setTurns(next);
    for (const index of indices) {
      const change = (draw: (answer: Answer) => Answer) => setTurns((now) => changed(now, id, index, (chain) => [...chain.slice(0, -1), draw(chain.at(-1)!)]));
      void read(stream(request(mode, sides[index]!, index, next, settings), signal), signal, change, setRefusal);
    }
  };

  const ask = (prompt: string, asking: Asking) =>
    go([...turns, { id: (turns.at(-1)?.id ?? 0) + 1, prompt, answers: asking.names.map((name) => [asked(name)]) }], [...asking.sides.keys()], asking);

  /** Answers the calls of one side's last answer. */
  const reply = (index: number, results: readonly string[], asking: Asking) =>
    go(changed(turns, turns.at(-1)!.id, index, (chain) => [...chain.slice(0, -1), { ...chain.at(-1)!, results }, asked(asking.names[index]!)]), [index], asking);

  const clear = () => {
    running.current?.abort();
    setRefusal(null);
    setTurns([]);
    keep([]);
  };

  return { turns, busy, refusal, ask, reply, clear, forgive: () => setRefusal(null), stop: () => running.current?.abort() };
}

/** Reads one stream into its answer, to whatever end. */
async function read(
  frames: AsyncGenerator<AnswerFrame>, signal: AbortSignal,
  change: (next: (answer: Answer) => Answer) => void, refuse: (error: ApiError) => void,
) {
  const began = performance.now();
  let waiting: AnswerFrame[] = [];
  const draw = () => {
    const taken = waiting;
    const elapsed = performance.now() - began;
    waiting = [];
    if (taken.length) change((answer) => reduce(answer, taken, elapsed));
  };
  const timer = setInterval(draw, DRAW_MS);
  try {
    for await (const frame of frames) waiting.push(frame);
    draw();
    change(close);
  } catch (thrown) {
    draw();
    if (signal.aborted) return change(stop);
    const error = asApiError(thrown);
    // Once text has come, a connection that ends is a cut, not a refusal.
    if (error.offline || error.status === 200) {
      return change((answer) => (answer.text ? close(answer) : failed(answer, error)));
    }
    refuse(error);
    change((answer) => failed(answer, error));
  } finally {
    clearInterval(timer);
  }
}

const failed = (answer: Answer, error: ApiError): Answer =>
  isOver(answer) ? answer : { ...answer, phase: "failed", loading: null, error: { message: error.message, reason: error.reason, requestId: error.requestId } };
