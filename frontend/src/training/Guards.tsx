import { Flame, Gauge, MemoryStick, ShieldAlert, type LucideIcon } from "lucide-react";
import type { Schemas } from "@/api";
import { bytes, duration, percent, short } from "@/lib/format";
import { Card } from "@/ui";
import { cn } from "@/lib/cn";
import type { Happening, Watched } from "./watch";

interface Report { icon: LucideIcon; name: string; text: string; acted: boolean }

/** What watches over the job, and what each of it did. */
export function Guards({ job, seen }: { job: Schemas["TrainingJob"]; seen: Watched }) {
  return (
    <Card className="h-full" title="Guards" hint="What watches over the job, and what it did">
      <ul className="flex flex-col gap-4">
        {reports(job, seen).map(({ icon: Icon, name, text, acted }) => (
          <li key={name} className="flex gap-3">
            <span className={cn("mt-0.5 grid size-7 shrink-0 place-items-center rounded-md", acted ? "bg-warn-soft text-warn" : "bg-raised text-muted")}><Icon aria-hidden className="size-4" strokeWidth={1.75} /></span>
            <span className="min-w-0"><span className="block font-medium">{name}</span><span className="block text-xs text-pretty text-muted">{text}</span></span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

const last = (list: readonly Happening[], kind: keyof Happening["frame"]) => list.findLast(({ frame }) => frame[kind])?.frame;

export function reports(job: Schemas["TrainingJob"], seen: Watched): Report[] {
  const wait = last(seen.happened, "memory_wait")?.memory_wait;
  const lowered = last(seen.happened, "learning_rate_lowered")?.learning_rate_lowered;
  const kept = last(seen.happened, "weights_kept")?.weights_kept;
  const cooled = last(seen.happened, "cooldown_ended")?.cooldown_ended;
  const cools = last(seen.happened, "cooldown_began")?.cooldown_began;
  const forecast = seen.forecast?.total_bytes ?? 0;
  const memory = forecast && seen.peak
    ? `Forecast ${bytes(forecast)}, peak ${bytes(seen.peak)}: ${percent(seen.peak / forecast)} of it.`
    : forecast ? `Forecast ${bytes(forecast)}; not measured yet.` : "No forecast yet.";
  const factor = job.nonfinite_lr_factor ?? 0;
  const patience = job.early_stop_patience ?? 0;
  return [
    { icon: MemoryStick, name: "Memory", acted: !!wait, text: wait ? `It waited for ${bytes(wait.needed_bytes ?? 0)}. ${memory}` : memory },
    {
      icon: ShieldAlert, name: "Numbers that are not finite", acted: !!lowered,
      text: lowered ? `Step ${lowered.step} was not finite: back to step ${lowered.resumed_from_step}, learning rate times ${short(lowered.factor ?? 0)}.`
        : factor ? `None seen. The first goes back to a checkpoint at ${short(factor)} times the learning rate.` : "None seen. One would fail the job.",
    },
    {
      icon: Gauge, name: "Early stop", acted: !!kept?.stopped_early,
      text: kept ? `${kept.stopped_early ? `Ended at step ${kept.step}` : "All epochs were trained"}; the weights of step ${kept.kept_step} are published, validation ${short(kept.val_loss ?? NaN)}.`
        : patience ? `Ends after ${patience} validations without a lower loss.` : "Off: all epochs are trained, the last weights published.",
    },
    {
      icon: Flame, name: "Heat", acted: !!cools,
      text: cooled ? `Paused for ${duration(cooled.seconds ?? 0)}${cooled.still_hot ? "; the machine is still hot" : ""}.` : cools ? `Pauses since step ${cools.step} until the machine has cooled down.` : "No pause was needed.",
    },
  ];
}
