/** What is asked: the settings' texts, a conversation, and the request that both make. */

import { ASK_BOUNDS, type Asked } from "@/api/playground";
import { wrong } from "@/lib/bounds";
import { type Answer, isOver } from "./answer";

export type Mode = "chat" | "completion";

/** Texts by field of the contract; an empty one takes the hub's default. `system` begins each conversation. */
export type Settings = Readonly<Record<string, string>>;

export const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "max_tokens", "seed"] as const;

export const LABELS: Readonly<Record<string, string>> = {
  temperature: "Temperature", top_p: "Top p", top_k: "Top k", min_p: "Min p", repetition_penalty: "Repetition penalty",
  presence_penalty: "Presence penalty", frequency_penalty: "Frequency penalty", max_tokens: "Tokens at most", seed: "Seed",
};

/** One prompt with what each side answered. */
export interface Turn { id: number; prompt: string; answers: readonly Answer[] }

/** Which model and version a side asks. */
export interface Side { model: number; version: string }

/** What is wrong with the settings, by field. */
export function faults(settings: Settings): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of NUMBERS) {
    const fault = wrong(ASK_BOUNDS[name]!, settings[name] ?? "");
    if (fault) found[name] = fault;
  }
  const schema = settings.response_schema?.trim();
  if (schema) {
    try {
      const read: unknown = JSON.parse(schema);
      if (typeof read !== "object" || read === null || Array.isArray(read)) found.response_schema = "Give a JSON schema: an object.";
    } catch (thrown) {
      found.response_schema = `This is no JSON: ${(thrown as Error).message}`;
    }
  }
  const stops = lines(settings.stop);
  const most = ASK_BOUNDS.stop?.maxItems ?? Infinity;
  if (stops.length > most) found.stop = `Give at most ${most}.`;
  return found;
}

/** The request for one side; turns that it did not answer to the end are left out of what it is reminded of. */
export function request(mode: Mode, side: Side, index: number, turns: readonly Turn[], prompt: string, settings: Settings): Partial<Asked> {
  const numbers = NUMBERS.filter((name) => settings[name]?.trim()).map((name) => [name, Number(settings[name])]);
  const stop = lines(settings.stop);
  const schema = settings.response_schema?.trim();
  const text = mode === "completion" ? { prompt } : { messages: messages(turns, index, prompt, settings.system ?? "") };
  return { model_id: side.model, version: side.version, ...text, ...Object.fromEntries(numbers), ...(stop.length && { stop }), ...(schema && { response_schema: schema }) };
}

function messages(turns: readonly Turn[], index: number, prompt: string, system: string) {
  const before = turns.flatMap((turn) => {
    const answer = turn.answers[index];
    return answer && isOver(answer) && answer.text ? [{ role: "user", content: turn.prompt }, { role: "assistant", content: answer.text }] : [];
  });
  return [...(system.trim() ? [{ role: "system", content: system }] : []), ...before, { role: "user", content: prompt }];
}

/** Stop strings stand one a line; \n in one means a line's end. */
const lines = (text = "") => text.split("\n").filter(Boolean).map((line) => line.replaceAll("\\n", "\n"));
