"use client";

import { ArrowUp, Square } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { ASK_BOUNDS } from "@/api/playground";
import { Button } from "@/ui";
import type { Mode } from "./settings";

interface ComposerProps { mode: Mode; busy: boolean; wrong: boolean; onAsk: (prompt: string) => void; onStop: () => void }

/** Where the prompt is written: Enter asks, Shift and Enter begins a line, Escape stops. */
export function Composer({ mode, busy, wrong, onAsk, onStop }: ComposerProps) {
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (!box.current) return;
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight, 240)}px`;
  }, [text]);
  const ready = !!text.trim() && !busy && !wrong;
  const send = () => {
    if (!ready) return;
    onAsk(text);
    if (mode === "chat") setText("");
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape" && busy) onStop();
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className="sticky bottom-[4.75rem] z-20 mt-auto rounded-xl border border-line-strong/60 bg-surface p-2 shadow-pop focus-within:border-accent md:bottom-4"
      onSubmit={(event) => { event.preventDefault(); send(); }}
    >
      <textarea
        ref={box} rows={1} aria-label="Prompt" value={text} maxLength={ASK_BOUNDS.prompt?.maxLength}
        placeholder={mode === "chat" ? "Ask something" : "Write a beginning; the model goes on"}
        onChange={(event) => setText(event.target.value)} onKeyDown={onKey}
        className="block w-full resize-none bg-transparent px-2 py-1.5 leading-6 outline-none placeholder:text-muted"
      />
      <div className="mt-1 flex items-center justify-between gap-3 pl-2">
        <span className="truncate text-2xs text-muted">{wrong ? "A setting is out of its bounds" : <span className="max-sm:hidden">Enter asks · Shift Enter begins a line · Escape stops</span>}</span>
        {busy
          ? <Button size="sm" variant="danger" onClick={onStop}><Square aria-hidden />Stop</Button>
          : <Button size="sm" variant="primary" type="submit" disabled={!ready}><ArrowUp aria-hidden />{mode === "chat" ? "Ask" : "Continue"}</Button>}
      </div>
    </form>
  );
}
