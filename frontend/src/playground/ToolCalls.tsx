"use client";

import { Wrench } from "lucide-react";
import { useState } from "react";
import type { ToolCall } from "@/api/playground";
import { Button, Field, Textarea } from "@/ui";

interface ToolCallsProps {
  calls: readonly ToolCall[];
  /** What the caller answered; none until it did. */
  results: readonly string[];
  /** Sends the results, one a call; left out where the conversation can't go on from here. */
  onReply: ((results: readonly string[]) => void) | undefined;
}

/** What the model asks its caller to call, and where the caller types what came of it. */
export function ToolCalls({ calls, results, onReply }: ToolCallsProps) {
  const [typed, setTyped] = useState<readonly string[]>(() => calls.map(() => ""));
  const asks = results.length ? undefined : onReply;
  return (
    <form className="flex flex-col gap-3 px-4 pb-3" onSubmit={(event) => { event.preventDefault(); asks?.(typed); }}>
      {calls.map((call, at) => (
        <section key={call.id} aria-label={`Call of ${call.name}`} className="min-w-0 rounded-lg border border-line bg-canvas px-3 py-2">
          <h4 className="flex items-center gap-2 text-xs font-semibold"><Wrench aria-hidden className="size-3.5 shrink-0 text-muted" /><span className="min-w-0 break-all">{call.name}</span></h4>
          <pre className="mt-1 font-mono text-xs break-words whitespace-pre-wrap" data-arguments>{pretty(call.arguments)}</pre>
          {results[at] !== undefined && <><p className="mt-2 text-2xs text-muted">Result</p><pre className="font-mono text-xs break-words whitespace-pre-wrap" data-result>{results[at]}</pre></>}
          {asks && (
            <Field label={`Result of ${call.name}`} className="mt-2">
              <Textarea rows={2} className="font-mono text-xs" spellCheck={false} value={typed[at] ?? ""} onChange={(event) => setTyped(calls.map((_, index) => (index === at ? event.target.value : (typed[index] ?? ""))))} />
            </Field>
          )}
        </section>
      ))}
      {asks && <Button type="submit" size="sm" variant="primary" className="self-end">{calls.length > 1 ? "Send the results" : "Send the result"}</Button>}
    </form>
  );
}

/** JSON with its levels on lines of their own; any other text as it is. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
