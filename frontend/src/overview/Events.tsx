"use client";

import { useQueries } from "@tanstack/react-query";
import { Archive, Boxes, CircleDot, Gauge, GraduationCap, History, type LucideIcon, Rocket } from "lucide-react";
import Link from "next/link";
import { flat, modelHistory, type Schemas, useJobs, useModels } from "@/api";
import { word } from "@/lib/format";
import { Card, Empty, ErrorState, Skeleton, StatusBadge, Time } from "@/ui";

const SHOWN = 10;
const MODELS = 8; // those that changed last; more would be a call each

export interface Happened { id: string; at: string; icon: LucideIcon; href: string; text: string; status?: string }

/** What happened last to jobs and models, newest first. */
export function Events() {
  const models = useModels();
  const jobs = useJobs();
  const list = flat(models, "models");
  const recent = [...list].sort((a, b) => (b.updated_at ?? "").localeCompare(a.updated_at ?? "")).slice(0, MODELS);
  const histories = useQueries({ queries: recent.map((model) => ({ ...modelHistory(model.id ?? 0, SHOWN), refetchInterval: 10_000 })) });
  const loading = models.isPending || jobs.isPending || histories.some((history) => history.isPending);
  const failed = models.error ?? jobs.error;
  const names = new Map(list.map((model) => [model.id, model.name ?? ""]));
  const events = [
    ...histories.flatMap((history, index) => (history.data ?? []).map((event) => ofModel(event, recent[index]!))),
    ...flat(jobs, "jobs").map((job) => ofJob(job, names)),
  ].sort((a, b) => b.at.localeCompare(a.at)).slice(0, SHOWN);
  return (
    <Card title="Recent events" flush>
      {failed && !models.data ? <ErrorState error={failed} retry={() => void models.refetch()} />
        : loading ? <div className="px-5">{Array.from({ length: 5 }, (_, i) => <Skeleton key={i} className="my-3 h-5" />)}</div>
        : !events.length ? <Empty icon={History} title="Nothing has happened yet">Create a model over an imported base model, upload a dataset and train: <code className="font-mono text-xs">mlx-hub demo</code> shows it all.</Empty>
        : (
          <ul>
            {events.map(({ id, at, icon: Icon, href, text, status }) => (
              <li key={id}>
                <Link href={href} prefetch={false} className="flex min-h-11 items-center gap-3 px-5 py-2 hover:bg-raised">
                  <Icon aria-hidden className="size-4 shrink-0 text-muted" strokeWidth={1.75} />
                  <span className="min-w-0 flex-1 text-pretty">{text}</span>
                  {status && <StatusBadge status={status} prefix="JOB_STATUS" />}
                  <span className="w-20 shrink-0 text-right text-xs text-muted"><Time value={at} /></span>
                </Link>
              </li>
            ))}
          </ul>
        )}
    </Card>
  );
}

const ICONS: Record<string, LucideIcon> = { created: Boxes, trained: GraduationCap, evaluated: Gauge, promoted: Rocket, "rolled back": Rocket, archived: Archive };

function ofModel(event: Schemas["ModelEvent"], model: Schemas["Model"]): Happened {
  const what = word(event.type, "MODEL_EVENT_TYPE");
  const facts = event.details ?? {};
  const subject = event.version ? `Version ${event.version} of ${model.name}` : `Model ${model.name}`;
  const more = facts.alias ? ` as ${facts.alias}` : facts.metric ? `: ${facts.metric} ${Number(facts.value).toPrecision(4)}` : "";
  return { id: `m${model.id}-${event.id}`, at: event.created_at ?? "", icon: ICONS[what] ?? CircleDot, href: `/models/?id=${model.id}`, text: `${subject} ${what}${more}` };
}

function ofJob(job: Schemas["TrainingJob"], names: ReadonlyMap<number | undefined, string>): Happened {
  const at = job.finished_at ?? job.started_at ?? job.created_at ?? "";
  return { id: `j${job.id}`, at, icon: GraduationCap, href: `/training/?id=${job.id}`, text: `Job ${job.id} for ${names.get(job.model_id) ?? `model ${job.model_id}`}`, status: job.status };
}
