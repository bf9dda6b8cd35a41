"use client";

import { useEffect, useRef, useState } from "react";
import { ApiError, asApiError } from "@/api";
import { answer as stream, type AnswerFrame } from "@/api/playground";
import { type Answer, asked, close, isOver, reduce, stop } from "./answer";
import { type Mode, request, type Settings, type Side, type Turn } from "./ask";
import { keep, kept } from "./kept";

const DRAW_MS = 50; // text is drawn twenty times a second, however fast it comes

export interface Question { mode: Mode; sides: readonly Side[]; names: readonly string[]; prompt: string; settings: Settings }

/** The turns so far, and what begins, ends and forgets them. They outlive a reload of the tab. */
export function useConversation() {
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const [refusal, setRefusal] = useState<ApiError | null>(null);
  const running = useRef<AbortController | null>(null);
  const busy = turns.some((turn) => !turn.answers.every(isOver));

  useEffect(() => {
    setTurns(kept());
    return () => running.current?.abort();
  }, []);
  useEffect(() => {
    if (turns.length && !busy) keep(turns);
  }, [turns, busy]);

  const change = (id: number, index: number, next: (answer: Answer) => Answer) =>
    setTurns((now) => now.map((turn) => (turn.id === id ? { ...turn, answers: turn.answers.map((one, i) => (i === index ? next(one) : one)) } : turn)));

  const ask = (question: Question) => {
    const { mode, sides, names, prompt, settings } = question;
    const id = (turns.at(-1)?.id ?? 0) + 1;
    const before = turns;
    running.current = new AbortController();
    const { signal } = running.current;
    setRefusal(null);
    setTurns([...before, { id, prompt, answers: sides.map((_, index) => asked(names[index]!)) }]);
    sides.forEach((side, index) => {
      const body = request(mode, side, index, before, prompt, settings);
      void read(stream(body, signal), signal, (next) => change(id, index, next), setRefusal);
    });
  };

  const clear = () => {
    running.current?.abort();
    setRefusal(null);
    setTurns([]);
    keep([]);
  };

  return { turns, busy, refusal, ask, clear, stop: () => running.current?.abort() };
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
