/** The API key: kept for this tab only, and asked for when the hub wants one. */

const NAME = "mlx-hub-key";
const listeners = new Set<() => void>();
let wanted = false;

export const readKey = () =>
  typeof sessionStorage === "undefined" ? "" : (sessionStorage.getItem(NAME) ?? "");

export const keyWanted = () => wanted;

/** Keeps a key, or forgets it when it is empty. */
export function saveKey(key: string): void {
  if (key) sessionStorage.setItem(NAME, key);
  else sessionStorage.removeItem(NAME);
  setWanted(false);
}

export function setWanted(value: boolean): void {
  if (wanted === value) return;
  wanted = value;
  for (const tell of listeners) tell();
}

export function onKeyWanted(tell: () => void): () => void {
  listeners.add(tell);
  return () => listeners.delete(tell);
}
