"use client";

import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import { type ReactNode, useState } from "react";
import { asApiError } from "@/api/errors";
import { cn } from "@/lib/cn";
import { Button } from "./button";

interface DialogProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  hint?: ReactNode;
  children?: ReactNode;
  className?: string;
  /** Without the title's looks, for the command palette; it stays for screen readers. */
  bare?: boolean;
}

export function Dialog({ open, onOpenChange, title, hint, children, className, bare }: DialogProps) {
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-[rgb(10_12_18/0.45)] backdrop-blur-[1px]" />
        <Radix.Content
          {...(hint ? {} : { "aria-describedby": undefined })}
          className={cn(
            "fixed top-[12vh] left-1/2 z-50 max-h-[76vh] w-[calc(100vw-2rem)] max-w-lg -translate-x-1/2 overflow-y-auto rounded-xl border border-line bg-surface shadow-pop animate-[appear_140ms_ease-out]",
            !bare && "p-5",
            className,
          )}
        >
          <Radix.Title className={bare ? "sr-only" : "pr-8 text-base font-semibold"}>{title}</Radix.Title>
          {hint && <Radix.Description className={bare ? "sr-only" : "mt-1 text-pretty text-muted"}>{hint}</Radix.Description>}
          {!bare && (
            <Radix.Close aria-label="Close" className="absolute top-4 right-4 grid size-7 place-items-center rounded-md text-muted hover:bg-raised hover:text-ink">
              <X aria-hidden className="size-4" />
            </Radix.Close>
          )}
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

interface ConfirmProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  children?: ReactNode;
  /** The verb on the button: Delete, Promote. */
  action: string;
  danger?: boolean;
  /** Does it; the dialog closes when it is done, and shows why when it is refused. */
  onConfirm: () => Promise<unknown>;
}

export function Confirm({ open, onOpenChange, title, children, action, danger, onConfirm }: ConfirmProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const change = (next: boolean) => {
    setError("");
    onOpenChange(next);
  };
  const run = async () => {
    setBusy(true);
    setError("");
    try {
      await onConfirm();
      change(false);
    } catch (thrown) {
      setError(asApiError(thrown).message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog open={open} onOpenChange={change} title={title} className="max-w-md">
      <div className="mt-2 text-pretty text-muted">{children}</div>
      {error && <p role="alert" className="mt-3 rounded-md bg-bad-soft px-3 py-2 text-bad">{error}</p>}
      <div className="mt-5 flex justify-end gap-2">
        <Button onClick={() => change(false)}>Cancel</Button>
        <Button variant={danger ? "danger" : "primary"} busy={busy} onClick={() => void run()}>{action}</Button>
      </div>
    </Dialog>
  );
}
