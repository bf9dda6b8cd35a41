/** What a watched job has told so far: a pure reduction of its stream's frames. */

import type { Schemas } from "@/api";

type Job = Schemas["TrainingJob"];
type Frame = Schemas["TrainingEvent"];

/** One optimizer step as it is drawn; null where nothing was told. */
export interface Point {
  step: number;
  loss: number | null;
  smoothed: number | null;
  rate: number | null;
  speed: number | null;
  norm: number | null;
  validation: number | null;
}

export interface Happening { sequence: number; attempt: number; at: string; frame: Frame }

export interface Watched {
  job: Job | null;
  /** The newest stored event that came. */
  last: number;
  /** By rising step; what a later attempt did again has replaced what it was before. */
  points: readonly Point[];
  /** Everything but steps and validations, oldest first. */
  happened: readonly Happening[];
  forecast: Schemas["TrainingForecast"] | null;
  evaluations: readonly Schemas["EvaluationResult"][];
  peak: number;
  /** Seconds that were left, and when that was said (milliseconds). */
  eta: { seconds: number; at: number } | null;
}

export const NOTHING: Watched = { job: null, last: 0, points: [], happened: [], forecast: null, evaluations: [], peak: 0, eta: null };

const ENDS = new Set(["JOB_STATUS_COMPLETED", "JOB_STATUS_FAILED", "JOB_STATUS_CANCELLED"]);
export const ended = (job: Job | null | undefined) => ENDS.has(job?.status ?? "");

/** Takes frames in, in the order they came. `now` in milliseconds. */
export function reduce(before: Watched, frames: readonly Frame[], now: number): Watched {
  const points = [...before.points];
  const happened = [...before.happened];
  const after: Watched = { ...before, points, happened };
  for (const frame of frames) {
    // A stream opens with the job as it is, under the sequence that it was asked from: a state, and no event.
    const stored = frame.sequence > after.last;
    after.last = Math.max(after.last, frame.sequence);
    if (frame.job && !isOlder(after.job, frame.job)) after.job = frame.job;
    if (!stored) continue;
    if (frame.step) takeStep(after, points, frame.step, now);
    else if (frame.validation) at(points, frame.validation.step ?? 0).validation = frame.validation.val_loss ?? null;
    else happened.push({ sequence: frame.sequence, attempt: frame.attempt, at: frame.created_at ?? "", frame });
    if (frame.forecast) after.forecast = frame.forecast;
    if (frame.evaluation) after.evaluations = [...after.evaluations.filter(({ which }) => which !== frame.evaluation!.which), frame.evaluation];
  }
  if (ended(after.job)) after.eta = null;
  return after;
}

/** What plain REST told while the stream was away: the newest step only. */
export function reducePolled(before: Watched, job: Job, now: number): Watched {
  const points = [...before.points];
  const after: Watched = { ...before, job, points };
  const { step = 0, loss, smoothed_loss, tokens_per_second, grad_norm, val_loss } = job.progress ?? {};
  if (step > (points.at(-1)?.step ?? 0)) {
    Object.assign(at(points, step), { loss: loss ?? null, smoothed: smoothed_loss ?? null, speed: tokens_per_second ?? null, norm: grad_norm ?? null, validation: val_loss ?? null });
    after.peak = Math.max(after.peak, job.progress?.peak_memory_bytes ?? 0);
  }
  const left = job.progress?.eta_seconds;
  after.eta = ended(job) || left === undefined ? null : { seconds: left, at: now };
  return after;
}

function takeStep(after: Watched, points: Point[], told: Schemas["TrainingStep"], now: number) {
  const step = told.step ?? 0;
  // A step that comes again was done again from a checkpoint: what lay behind it no longer counts.
  if (points.length && points.at(-1)!.step > step) points.splice(points.findIndex((point) => point.step > step));
  Object.assign(at(points, step), { loss: told.loss ?? null, smoothed: told.smoothed_loss ?? null, rate: told.learning_rate ?? null, speed: told.tokens_per_second ?? null, norm: told.grad_norm ?? null });
  after.peak = Math.max(after.peak, told.peak_memory_bytes ?? 0);
  after.eta = told.eta_seconds === undefined ? after.eta : { seconds: told.eta_seconds, at: now };
  if (!after.job || ended(after.job)) return;
  const { step: _, ...progress } = { ...after.job.progress, ...told };
  after.job = { ...after.job, progress: { ...progress, step } };
}

/** The point of a step, made in its place if there is none; it is a new object, for it will be changed. */
function at(points: Point[], step: number): Point {
  let index = points.length;
  while (index > 0 && points[index - 1]!.step >= step) index -= 1;
  const found = points[index];
  const made: Point = found?.step === step ? { ...found } : { step, loss: null, smoothed: null, rate: null, speed: null, norm: null, validation: null };
  points.splice(index, found?.step === step ? 1 : 0, made);
  return made;
}

/** Whether a state is from before the end that is known of the same run. */
const isOlder = (known: Job | null, told: Job) => ended(known) && known!.retried_at === told.retried_at && !ended(told);

/** Whether this event ends the stream that opened with that state: a job that was retried has ended before, too. */
export const isEnd = ({ job, sequence }: Frame, opening: Frame | null) =>
  ended(job) && sequence > (opening?.sequence ?? 0) && job!.retried_at === opening?.job?.retried_at;

/** Seconds that are left now. */
export const remaining = (eta: Watched["eta"], now: number) =>
  eta && Math.max(0, eta.seconds - (now - eta.at) / 1000);
