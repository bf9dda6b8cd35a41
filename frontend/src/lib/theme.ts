/** Light, dark, or what the system says. The choice is kept in this browser. */

export type Choice = "system" | "light" | "dark";
const NAME = "mlx-hub-theme";
const listeners = new Set<() => void>();

/** Runs before anything is drawn, so that no wrong theme flashes. Covered by the page's policy. */
export const THEME_SCRIPT = `(()=>{let c;try{c=localStorage.getItem("${NAME}")}catch{}
document.documentElement.dataset.theme=c==="light"||c==="dark"?c:matchMedia("(prefers-color-scheme: dark)").matches?"dark":"light"})()`;

export function readChoice(): Choice {
  const kept = typeof localStorage === "undefined" ? null : localStorage.getItem(NAME);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function setChoice(choice: Choice): void {
  localStorage.setItem(NAME, choice);
  apply();
}

function apply(): void {
  const choice = readChoice();
  const dark = choice === "dark" || (choice === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const tell of listeners) tell();
}

/** Tells of every change of the theme, the system's too. */
export function onTheme(tell: () => void): () => void {
  const query = matchMedia("(prefers-color-scheme: dark)");
  listeners.add(tell);
  query.addEventListener("change", apply);
  return () => {
    listeners.delete(tell);
    query.removeEventListener("change", apply);
  };
}
