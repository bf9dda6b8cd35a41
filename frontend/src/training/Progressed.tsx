"use client";

import { useEffect, useState } from "react";
import type { Schemas } from "@/api";
import { bytes, duration, number, percent, short } from "@/lib/format";
import { Card, Progress, Stat } from "@/ui";
import { ended, remaining, type Watched } from "./watch";

type Job = Schemas["TrainingJob"];

/** How far the job is, how fast, and how long it still takes. */
export function Progressed({ job, seen }: { job: Job; seen: Watched }) {
  const now = useNow(!ended(job));
  const { step = 0, total_steps = 0, epoch = 0, trained_tokens = 0 } = job.progress ?? {};
  const share = total_steps ? step / total_steps : 0;
  const newest = seen.points.at(-1);
  const peak = seen.peak || job.progress?.peak_memory_bytes || 0;
  const left = remaining(seen.eta, now);
  return (
    <Card>
      <div className="mb-2 flex h-5 items-baseline justify-between gap-4 pt-2 text-sm">
        <span className="truncate font-medium">{total_steps ? `Step ${number(step)} of ${number(total_steps)}` : waiting(job, seen)}</span>
        <span className="shrink-0 text-xs text-muted">{left !== null && job.status === "JOB_STATUS_RUNNING" ? (left > 1 ? `about ${duration(Math.round(left))} left` : "publishing soon") : total_steps ? percent(share) : ""}</span>
      </div>
      <Progress value={job.status === "JOB_STATUS_COMPLETED" ? 1 : share} label="Progress" className="mt-3 h-2" />
      <div className="mt-5 grid grid-cols-2 gap-x-6 gap-y-4 sm:grid-cols-3 lg:grid-cols-6">
        <Stat label="Loss" value={told(job.progress?.smoothed_loss ?? (step ? job.progress?.loss : undefined))} note={newest?.loss !== null && newest ? `last step ${short(newest.loss ?? NaN)}` : ""} />
        <Stat label="Validation" value={told(lastValidation(seen) ?? job.progress?.val_loss)} note="held-out rows" />
        <Stat label="Tokens per second" value={step ? number(job.progress?.tokens_per_second ?? 0) : "–"} note={trained_tokens ? `${number(trained_tokens)} trained` : ""} />
        <Stat label="Memory" value={peak ? bytes(peak) : "–"} note={seen.forecast?.total_bytes ? `of ${bytes(seen.forecast.total_bytes)} forecast` : "peak"} />
        <Stat label="Epoch" value={epoch ? `${epoch} of ${job.epochs}` : "–"} note={`attempt ${job.attempt || "–"}`} />
        <Stat label="Time" value={spent(job, now)} note={job.finished_at ? "in all" : job.started_at ? "so far" : ""} />
      </div>
    </Card>
  );
}

const told = (value: number | null | undefined) => (value === null || value === undefined ? "–" : short(value));
const lastValidation = (seen: Watched) => seen.points.findLast((point) => point.validation !== null)?.validation;

function waiting(job: Job, seen: Watched): string {
  if (job.status === "JOB_STATUS_QUEUED") return "Waits for its turn";
  if (ended(job)) return "It took no step";
  return seen.happened.at(-1)?.frame.memory_wait ? "Waits for memory" : "Loads the base model and encodes the rows";
}

function spent(job: Job, now: number): string {
  if (!job.started_at) return "–";
  const end = job.finished_at ? Date.parse(job.finished_at) : now;
  return end ? duration(Math.max(0, (end - Date.parse(job.started_at)) / 1000)) : "–";
}

/** The time, each second while something runs. */
function useNow(running: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return now;
}
