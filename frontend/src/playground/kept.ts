/** The conversation and the settings in this tab's session storage: a reload keeps them, closing the tab forgets them. */

import { close } from "./answer";
import type { Settings, Turn } from "./ask";

const TURNS = "mlx-hub-playground-turns";
const SETTINGS = "mlx-hub-playground-settings";

export function kept(): readonly Turn[] {
  const turns = read<readonly Turn[]>(TURNS, []);
  return Array.isArray(turns) ? turns.map((turn) => ({ ...turn, answers: turn.answers.map(close) })) : [];
}

export const keep = (turns: readonly Turn[]) => write(TURNS, turns);
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
