import { Bookmark, CircleCheck, CircleDot, CirclePlay, CircleX, Flame, Gauge, type LucideIcon, MemoryStick, ShieldAlert } from "lucide-react";
import { bytes, duration, short, word } from "@/lib/format";
import { cn } from "@/lib/cn";
import { Card, Time } from "@/ui";
import type { Happening } from "./watch";

const SHOWN = 200;

/** Everything that happened to the job but its steps, newest first. */
export function Happened({ list }: { list: readonly Happening[] }) {
  return (
    <Card className="h-full" title="Events" hint={list.length > SHOWN ? `The newest ${SHOWN} of ${list.length}` : undefined} flush>
      {!list.length ? <p className="px-5 py-3 text-xs text-muted">Nothing yet.</p> : (
        <ol className="max-h-72 overflow-y-auto" tabIndex={0} aria-label="Events">
          {list.slice(-SHOWN).reverse().map((event) => {
            const { icon: Icon, text, tone } = say(event);
            return (
              <li key={`${event.sequence}-${event.frame.job?.status ?? ""}-${event.attempt}`} className="flex min-h-9 items-center gap-3 px-5 py-1.5 text-xs">
                <Icon aria-hidden className={cn("size-4 shrink-0", tone ?? "text-muted")} strokeWidth={1.75} />
                <span className="min-w-0 flex-1 text-pretty break-words">{text}</span>
                <span className="w-16 shrink-0 text-right text-muted"><Time value={event.at} /></span>
              </li>
            );
          })}
        </ol>
      )}
    </Card>
  );
}

const STATUS: Record<string, [LucideIcon, string?]> = { running: [CirclePlay, "text-accent"], completed: [CircleCheck, "text-ok"], failed: [CircleX, "text-bad"] };

/** An event in words. */
export function say({ frame, attempt }: Happening): { icon: LucideIcon; text: string; tone?: string } {
  if (frame.job) {
    const status = word(frame.job.status, "JOB_STATUS");
    const [icon, tone] = STATUS[status] ?? [CircleDot];
    return { icon, tone, text: status === "running" ? `Attempt ${attempt || frame.job.attempt} runs` : `The job is ${status}` };
  }
  if (frame.checkpoint) return { icon: Bookmark, text: `Checkpoint at step ${frame.checkpoint.step}` };
  if (frame.evaluation) return { icon: Gauge, text: `${word(frame.evaluation.which, "EVALUATED_WEIGHTS") === "base" ? "The base model" : "The trained weights"} scored ${short(frame.evaluation.loss ?? NaN)} on ${frame.evaluation.rows === 1 ? "1 row" : `${frame.evaluation.rows} rows`}` };
  if (frame.forecast) return { icon: MemoryStick, text: `It has its memory: ${bytes(frame.forecast.total_bytes ?? 0)} forecast` };
  if (frame.memory_wait) return { icon: MemoryStick, tone: "text-warn", text: `Waits for ${bytes(frame.memory_wait.needed_bytes ?? 0)}; ${bytes(frame.memory_wait.room?.free_bytes ?? 0)} are free. It fails after ${duration(frame.memory_wait.at_most_seconds ?? 0)}` };
  if (frame.learning_rate_lowered) return { icon: ShieldAlert, tone: "text-warn", text: `Step ${frame.learning_rate_lowered.step} was not finite; goes on from step ${frame.learning_rate_lowered.resumed_from_step}` };
  if (frame.weights_kept) return { icon: Gauge, text: `Keeps the weights of step ${frame.weights_kept.kept_step}` };
  if (frame.cooldown_began) return { icon: Flame, tone: "text-warn", text: `Pauses to cool down${frame.cooldown_began.celsius ? ` from ${frame.cooldown_began.celsius} °C` : ""}` };
  if (frame.cooldown_ended) return { icon: Flame, text: `Goes on after ${duration(frame.cooldown_ended.seconds ?? 0)}` };
  return { icon: CircleDot, text: "Something that this page does not know" };
}
