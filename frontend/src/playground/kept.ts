/** The conversation and the settings in this tab's session storage: a reload keeps them, closing the tab forgets them. */

import { close } from "./answer";
import type { Turn } from "./ask";
import type { Settings } from "./settings";

const TURNS = "mlx-hub-playground-talk";
const SETTINGS = "mlx-hub-playground-settings";

export function kept(): readonly Turn[] {
  const turns = read<readonly Turn[]>(TURNS, []);
  return Array.isArray(turns) ? (turns as readonly Turn[]).map((turn) => ({ ...turn, answers: turn.answers.map((chain) => chain.map(close)) })) : [];
}

/** Probabilities are left out: those of one answer could fill the whole storage. */
export const keep = (turns: readonly Turn[]) =>
  write(TURNS, turns.map((turn) => ({ ...turn, answers: turn.answers.map((chain) => chain.map((answer) => ({ ...answer, logprobs: [] }))) })));
export const keptSettings = () => read<Settings>(SETTINGS, {});
export const keepSettings = (settings: Settings) => write(SETTINGS, settings);

function read<T>(name: string, otherwise: T): T {
  try {
    return (JSON.parse(sessionStorage.getItem(name) ?? "null") as T | null) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(name: string, value: unknown) {
  try {
    sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    // A full or forbidden storage forgets; nothing else depends on it.
  }
}
