"use client";

import { type FocusEvent, type KeyboardEvent, memo, useRef, useState } from "react";
import type { TokenLogprob } from "@/api/playground";
import { cn } from "@/lib/cn";
import { percent } from "@/lib/format";

// A line of its own kind under each shade: none of it is told by colour alone.
const SHADES: readonly { from: number; say: string; look: string }[] = [
  { from: 0.9, say: "≥ 90 %", look: "" },
  { from: 0.6, say: "≥ 60 %", look: "bg-warn/8 underline decoration-dotted" },
  { from: 0.3, say: "≥ 30 %", look: "bg-warn/16 underline decoration-dashed" },
  { from: 0.1, say: "≥ 10 %", look: "bg-warn/24 underline decoration-solid" },
  { from: 0, say: "< 10 %", look: "bg-bad/24 underline decoration-double" },
];
const LINE = "decoration-from-font underline-offset-4 decoration-ink";

const share = (logprob: number) => Math.exp(logprob);
const shade = (logprob: number) => SHADES.find(({ from }) => share(logprob) >= from)?.look;

/** A probability in few digits; what is not quite none is not shown as none. */
export function chance(logprob: number): string {
  const part = share(logprob);
  return part > 0 && part < 0.0001 ? "< 0.01 %" : percent(part, part < 0.1 ? 2 : 1);
}

/** What a token looks like: a line's end can be seen, and what adds no text has its number. */
const seen = (token: TokenLogprob["token"]) => token?.text.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t") || `‹${token?.id ?? ""}›`;

/** An answer token by token, each shaded by how likely it was; the one in focus tells what else might have stood there. */
export const Tokens = memo(function Tokens({ tokens }: { tokens: readonly TokenLogprob[] }) {
  const [at, setAt] = useState<number | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const onFocus = ({ target }: FocusEvent<HTMLElement>) => target.dataset.at !== undefined && setAt(Number(target.dataset.at));
  const onKeyDown = (event: KeyboardEvent) => {
    const to = goal(event.key, at ?? 0, box.current?.children ?? []);
    if (to === undefined) return;
    event.preventDefault();
    (box.current?.children[Math.max(0, Math.min(tokens.length - 1, to))] as HTMLElement | undefined)?.focus();
  };
  return (
    <div className="px-4 py-2">
      <div ref={box} role="listbox" aria-label="Tokens" aria-orientation="horizontal" onFocus={onFocus} onKeyDown={onKeyDown} className="max-h-64 overflow-y-auto leading-7 break-words whitespace-pre-wrap" data-tokens>
        {tokens.map((token, index) => <Token key={index} token={token} at={index} chosen={index === at} reached={index === (at ?? 0)} />)}
      </div>
      <p className="mt-2 flex flex-wrap gap-x-3 gap-y-1 text-2xs text-muted">
        {SHADES.map(({ say, look }) => <span key={say} className={cn("px-0.5 text-ink", look, LINE)}>{say}</span>)}
      </p>
      <Alternatives token={at === null ? undefined : tokens[at]} />
    </div>
  );
});

interface TokenProps { token: TokenLogprob; at: number; chosen: boolean; reached: boolean }

const Token = memo(function Token({ token: { token }, at, chosen, reached }: TokenProps) {
  const logprob = token?.logprob ?? 0;
  return (
    <span
      role="option" aria-selected={chosen} aria-label={`${token?.text.trim() || seen(token)}, ${chance(logprob)}`} tabIndex={reached ? 0 : -1} data-at={at}
      className={cn("cursor-pointer rounded-xs aria-selected:bg-ink aria-selected:text-canvas", shade(logprob), LINE)}
    >{seen(token)}</span>
  );
});

/** Where a key leads: along the text, to its ends, or to the token above or below. */
function goal(key: string, at: number, tokens: ArrayLike<Element>): number | undefined {
  const plain: Readonly<Record<string, number>> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 };
  if (key in plain) return plain[key];
  if (key !== "ArrowDown" && key !== "ArrowUp") return undefined;
  const step = key === "ArrowDown" ? 1 : -1;
  const place = (index: number) => tokens[index]?.getClientRects()[0];
  const here = place(at);
  if (!here) return undefined;
  let to = at + step;
  while (place(to)?.top === here.top) to += step;
  const line = place(to)?.top;
  while (line !== undefined && place(to + step)?.top === line && (step > 0 ? place(to)!.left < here.left : place(to)!.left > here.left)) to += step;
  return to;
}

/** The likeliest tokens at one place, and the one that was taken. */
function Alternatives({ token }: { token: TokenLogprob | undefined }) {
  if (!token?.token) return <p className="mt-2 min-h-6 text-xs text-muted">Choose a token to see what else might have stood there; arrows lead on.</p>;
  const { token: taken, top } = token;
  const rows = top.some(({ id }) => id === taken.id) ? top : [...top, taken];
  return (
    <table className="mt-2 w-full text-xs" aria-label="Alternatives">
      <thead><tr className="text-left text-muted"><th className="py-1 font-normal">Token</th><th className="px-2 py-1 text-right font-normal">Id</th><th colSpan={2} className="py-1 text-right font-normal">Probability</th></tr></thead>
      <tbody>
        {rows.map((one) => (
          <tr key={one.id} className="border-t border-line">
            <th scope="row" className="max-w-40 py-1 text-left font-normal">
              <code className={cn("rounded bg-raised px-1 font-mono break-all whitespace-pre-wrap", one.id === taken.id && "font-semibold")}>{seen(one)}</code>
              {one.id === taken.id && <span className="ml-1.5 text-2xs text-muted">taken</span>}
            </th>
            <td className="px-2 py-1 text-right">{one.id}</td>
            <td className="w-1/4 py-1" aria-hidden><div className="h-1.5 rounded-full bg-line"><div className="h-full rounded-full bg-accent-fill" style={{ width: `${share(one.logprob) * 100}%` }} /></div></td>
            <td className="w-18 py-1 text-right whitespace-nowrap">{chance(one.logprob)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
