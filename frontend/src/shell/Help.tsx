"use client";

import { Dialog } from "@/ui/dialog";
import { PAGES } from "./pages";

const ROWS: readonly [string, string][] = [
  ["Ctrl K", "Jump to a page, model or job"],
  ["?", "This list"],
  ["Esc", "Close what is open"],
  ["↑ ↓", "Move in a table or list"],
  ["Enter", "Open the row"],
  ...PAGES.map(({ key, label }): [string, string] => [`g ${key}`, `Go to ${label}`]),
];

export default function Help(props: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog {...props} title="Keyboard shortcuts" className="max-w-sm">
      <dl className="mt-4 grid grid-cols-[auto_1fr] items-center gap-x-5 gap-y-2.5">
        {ROWS.map(([key, text]) => (
          <div key={key} className="contents">
            <dt className="flex gap-1">{key.split(" ").map((part) => <kbd key={part} className="min-w-6 rounded border border-line bg-raised px-1.5 text-center font-sans text-xs leading-5">{part}</kbd>)}</dt>
            <dd className="text-muted">{text}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
