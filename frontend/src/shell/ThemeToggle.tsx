"use client";

import { Monitor, Moon, Sun } from "lucide-react";
import { useEffect, useState } from "react";
import { type Choice, onTheme, readChoice, setChoice } from "@/lib/theme";

const NEXT: Record<Choice, Choice> = { system: "light", light: "dark", dark: "system" };
const ICONS = { system: Monitor, light: Sun, dark: Moon };

export function ThemeToggle() {
  const [choice, set] = useState<Choice>("system");
  useEffect(() => {
    set(readChoice());
    return onTheme(() => set(readChoice()));
  }, []);
  const Icon = ICONS[choice];
  const label = `Theme: ${choice}. Change to ${NEXT[choice]}`;
  return (
    <button type="button" aria-label={label} title={label} onClick={() => setChoice(NEXT[choice])} className="grid size-9 place-items-center rounded-md text-muted hover:bg-raised hover:text-ink">
      <Icon aria-hidden className="size-4" />
    </button>
  );
}
