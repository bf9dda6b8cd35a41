"use client";

import { type FormEvent, type ReactNode, useState } from "react";
import { asApiError } from "@/api/errors";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { Field, Input } from "./field";

interface ConfirmTypedProps {
  onClose: () => void;
  title: string;
  /** What has to be typed before the button works. */
  name: string;
  action: string;
  children: ReactNode;
  onConfirm: () => Promise<unknown>;
}

/** Asks for what has no way back: the thing's name has to be typed. */
export function ConfirmTyped({ onClose, title, name, action, children, onConfirm }: ConfirmTypedProps) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const run = async (event: FormEvent) => {
    event.preventDefault();
    if (text !== name) return;
    setBusy(true);
    setError("");
    try {
      await onConfirm();
      onClose();
    } catch (thrown) {
      setError(asApiError(thrown).message);
      setBusy(false);
    }
  };
  return (
    <Dialog open onOpenChange={onClose} title={title} className="max-w-md">
      <form onSubmit={(event) => void run(event)}>
        <div className="mt-2 mb-4 text-pretty text-muted">{children}</div>
        <Field label={<>Type <span className="font-mono break-all">{name}</span> to go on</>}><Input autoFocus autoComplete="off" spellCheck={false} value={text} onChange={(event) => setText(event.target.value)} /></Field>
        {error && <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 break-words text-bad">{error}</p>}
        <div className="mt-4 flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="danger" busy={busy} disabled={text !== name}>{action}</Button>
        </div>
      </form>
    </Dialog>
  );
}
