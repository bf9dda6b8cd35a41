"use client";

import { CircleHelp, Percent, Scissors } from "lucide-react";
import dynamic from "next/dynamic";
import { useState } from "react";
import { duration, number, word } from "@/lib/format";
import { Badge, Button, Copy, type Tone } from "@/ui";
import { type Answer, isOver, waiting } from "./answer";

const Why = dynamic(() => import("./Why").then((made) => made.Why), { ssr: false });

const Tokens = dynamic(() => import("./Tokens").then((made) => made.Tokens), { ssr: false });
const ToolCalls = dynamic(() => import("./ToolCalls").then((made) => made.ToolCalls), { ssr: false });

const FINISH: Record<string, string> = { stop: "ended", length: "cut at the most tokens", "tool calls": "asks for tools" };

/** One answer: its text as text, or token by token, its calls, and what it took. `onReply` takes the calls' results. */
export function AnswerCard({ answer, onReply }: { answer: Answer; onReply?: (results: readonly string[]) => void }) {
  const [why, setWhy] = useState(false);
  const [byToken, setByToken] = useState(false);
  const { calls, completion, error, logprobs, phase } = answer;
  const id = completion?.generation_id ?? "";
  const version = completion?.provenance?.version;
  return (
    <article aria-label={`Answer of ${answer.of}`} aria-busy={!isOver(answer)} className="min-w-0 rounded-xl border border-line bg-surface">
      <header className="flex min-h-9 items-center gap-2 px-4 pt-2 text-xs">
        <span className="min-w-0 truncate font-medium" title={answer.of}>{answer.of}</span>
        {version !== undefined && <span className="shrink-0 text-muted">{version ? `v${version}` : "base"}</span>}
        <span className="ml-auto"><State answer={answer} /></span>
      </header>
      {byToken && logprobs.length ? <Tokens tokens={logprobs} /> : (answer.text || !calls.length) && <div className="min-h-10 px-4 py-2 leading-6 break-words whitespace-pre-wrap" data-answer>
        {answer.text}
        {!answer.text && !isOver(answer) && <span role="status" className="text-muted">{waiting(answer)}…</span>}
        {!answer.text && phase === "done" && <span className="text-muted">The model ended without a word.</span>}
        {!isOver(answer) && <span aria-hidden className="ml-0.5 inline-block h-4 w-1.5 translate-y-0.5 animate-pulse rounded-sm bg-accent" />}
      </div>}
      {calls.length > 0 && <ToolCalls calls={calls} results={answer.results} onReply={phase === "done" ? onReply : undefined} />}
      {phase === "cut" && <p role="alert" className="mx-4 mb-3 flex items-center gap-2 rounded-md bg-warn-soft px-3 py-2 text-xs text-pretty text-warn"><Scissors aria-hidden className="size-4 shrink-0" />The stream was cut: it ended without saying so. The answer may go on.</p>}
      {error && (
        <div role="alert" className="mx-4 mb-3 rounded-md bg-bad-soft px-3 py-2 text-bad">
          <p className="text-pretty break-words">{error.message}</p>
          <p className="mt-1 flex flex-wrap items-center gap-x-3 text-xs"><code className="font-mono">{error.reason}</code>{error.requestId && <span className="inline-flex items-center">request {error.requestId.slice(0, 8)}<Copy text={error.requestId} label="Copy the request id" /></span>}</p>
        </div>
      )}
      <footer className="flex min-h-10 flex-wrap items-center gap-x-4 gap-y-1 border-t border-line px-4 py-1 text-2xs text-muted">
        <Facts answer={answer} />
        {/* Not before the end: what comes last would move a button away from under the pointer. */}
        {isOver(answer) && <span className="ml-auto flex flex-wrap items-center gap-1">
          {logprobs.length > 0 && <Button size="sm" variant="ghost" className="h-7 px-2 text-2xs aria-pressed:text-accent" aria-pressed={byToken} onClick={() => setByToken(!byToken)}><Percent aria-hidden />Token by token</Button>}
          {id && <Button size="sm" variant="ghost" className="h-7 px-2 text-2xs" onClick={() => setWhy(true)}><CircleHelp aria-hidden />Why did it say that?</Button>}
          {answer.text && <Copy text={answer.text} label="Copy the answer" />}
        </span>}
      </footer>
      {why && <Why id={id} open onOpenChange={setWhy} />}
    </article>
  );
}

function Facts({ answer }: { answer: Answer }) {
  const { completion, firstMs, speed, tokens } = answer;
  const finish = word(completion?.finish_reason, "FINISH_REASON");
  const facts = [
    tokens ? ["tokens", number(tokens)] : null,
    speed ? ["tokens/s", number(speed, 1)] : null,
    firstMs !== null ? ["first token", duration(firstMs / 1000)] : null,
    completion ? ["cached", `${number(completion.cached_tokens ?? 0)} of ${number(completion.prompt_tokens ?? 0)}`] : null,
    finish ? ["finish", FINISH[finish] ?? finish] : null,
  ].filter((fact) => fact !== null);
  return (
    <dl className="flex flex-wrap gap-x-4 gap-y-0.5">
      {facts.map(([label, value]) => <div key={label} className="flex gap-1"><dt>{label}</dt><dd className="font-medium text-ink">{value}</dd></div>)}
    </dl>
  );
}

const STATES: Partial<Record<Answer["phase"], [string, Tone]>> = { streaming: ["answering", "accent"], loading: ["loading", "accent"], stopped: ["stopped", "warn"], cut: ["cut", "warn"], failed: ["failed", "bad"] };

function State({ answer }: { answer: Answer }) {
  const [text, tone] = STATES[answer.phase] ?? [];
  return text ? <Badge dot tone={tone}>{text}</Badge> : null;
}
