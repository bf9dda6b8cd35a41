"use client";

import { MessageSquare } from "lucide-react";
import { useEffect, useRef } from "react";
import { cn } from "@/lib/cn";
import { Empty } from "@/ui";
import { AnswerCard } from "./AnswerCard";
import type { Turn } from "./ask";
import type { Mode } from "./settings";

const NEAR = 160; // pixels from the end within which the page follows the text

interface TurnsProps {
  turns: readonly Turn[]; mode: Mode; two: boolean;
  /** Answers the calls of a side's last answer; left out while that can't be. */
  onReply: ((index: number, results: readonly string[]) => void) | undefined;
}

/** The conversation, oldest first. Every text in it is text, whatever it looks like. */
export function Turns({ turns, mode, two, onReply }: TurnsProps) {
  const following = useRef(true);
  useEffect(() => {
    const look = () => { following.current = document.documentElement.scrollHeight - innerHeight - scrollY < NEAR; };
    addEventListener("scroll", look, { passive: true });
    return () => removeEventListener("scroll", look);
  }, []);
  useEffect(() => {
    if (turns.length && following.current) scrollTo({ top: document.documentElement.scrollHeight });
  }, [turns]);
  if (!turns.length)
    return (
      <div className="flex flex-1 items-center justify-center py-8">
        <Empty icon={MessageSquare} title={two ? "One prompt, two answers" : mode === "chat" ? "Begin a conversation" : "Begin a text"}>
          {two ? "Both sides get the same prompt and settings; each is reminded of its own answers only." : mode === "chat" ? "The first answer may take a moment: a model is loaded when it is first asked." : "The text is continued as it stands, without a chat template."}
        </Empty>
      </div>
    );
  return (
    <ol aria-label="Conversation" className="flex flex-1 flex-col gap-6 py-6">
      {turns.map((turn) => (
        <li key={turn.id} className="flex flex-col gap-3">
          <div className="max-w-[85%] self-end rounded-xl bg-accent-soft px-4 py-2.5 break-words whitespace-pre-wrap" data-prompt>{turn.prompt}</div>
          <div className={cn("grid items-start gap-3", turn.answers.length > 1 && "sm:grid-cols-2")}>
            {turn.answers.map((chain, index) => (
              <div key={index} className="flex min-w-0 flex-col gap-3">
                {chain.map((answer, at) => <AnswerCard key={at} answer={answer} onReply={onReply && turn === turns.at(-1) ? (results) => onReply(index, results) : undefined} />)}
              </div>
            ))}
          </div>
        </li>
      ))}
    </ol>
  );
}
