/** A conversation, and the request that goes on with it. */

import type { Asked } from "@/api/playground";
import { type Answer, isOver } from "./answer";
import { fields, type Mode, type Settings } from "./settings";

/** One prompt with what each side answered: its answers one after the other, each but the last with calls and their results. */
export interface Turn { id: number; prompt: string; answers: readonly (readonly Answer[])[] }

/** Which model and version a side asks. */
export interface Side { model: number; version: string }

type Message = NonNullable<Asked["messages"]>[number];

/** The turns with one side's last answer changed. */
export const changed = (turns: readonly Turn[], id: number, index: number, next: (chain: readonly Answer[]) => readonly Answer[]): readonly Turn[] =>
  turns.map((turn) => (turn.id === id ? { ...turn, answers: turn.answers.map((chain, at) => (at === index ? next(chain) : chain)) } : turn));

/** The request for what comes next at one side. Turns that it did not answer are left out of what it is reminded of. */
export function request(mode: Mode, side: Side, index: number, turns: readonly Turn[], settings: Settings): Partial<Asked> {
  const text = mode === "completion" ? { prompt: turns.at(-1)!.prompt } : { messages: messages(turns, index, settings.system ?? "") };
  return { model_id: side.model, version: side.version, ...text, ...fields(settings, mode) };
}

function messages(turns: readonly Turn[], index: number, system: string): Message[] {
  const said = turns.flatMap((turn, at): Message[] => {
    const replies = (turn.answers[index] ?? []).flatMap(spoken);
    return replies.length || at === turns.length - 1 ? [{ role: "user", content: turn.prompt }, ...replies] : [];
  });
  return [...(system.trim() ? [{ role: "system" as const, content: system }] : []), ...said];
}

/** An answer as messages; calls that nobody answered are as if they had not been made. */
function spoken(answer: Answer): Message[] {
  const { calls, results, text } = answer;
  if (!isOver(answer)) return [];
  if (results.length)
    return [{ role: "assistant", content: text, tool_calls: [...calls] }, ...calls.map(({ id }, at): Message => ({ role: "tool", tool_call_id: id, content: results[at] ?? "" }))];
  return text ? [{ role: "assistant", content: text }] : [];
}
