"use client";

import { useQueryClient } from "@tanstack/react-query";
import { ArrowLeft, Ban, Copy as CopyIcon, MessageSquare, Repeat, RotateCcw } from "lucide-react";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { asApiError, keys, type LiveMode, type Schemas, useDataset, useJob, useModel } from "@/api";
import { cancelJob, replayJob, retryJob } from "@/api/training";
import { Badge, Button, Card, Confirm, ErrorState, PageHeader, Skeleton, StatusBadge, Time, toast } from "@/ui";
import { Charts } from "./Charts";
import { Evaluations } from "./Evaluations";
import { Guards } from "./Guards";
import { Happened } from "./Happened";
import { Logs } from "./Logs";
import { Progressed } from "./Progressed";
import { RecipeCard } from "./RecipeCard";
import { useWatched } from "./useWatched";
import { Verdict } from "./Verdict";
import { ended } from "./watch";

type TrainingJob = Schemas["TrainingJob"];

/** One job's page: a stream of its events is followed from the first on. */
export function Job({ id }: { id: number }) {
  const job = useJob(id);
  if (job.data) return <Watch key={`${id}-${job.data.retried_at ?? ""}`} id={id} begin={job.data} />;
  if (job.error) return <><Back /><Card><ErrorState error={job.error} retry={() => void job.refetch()} /></Card></>;
  return <><Back /><Skeleton className="mb-6 h-11 w-72" /><Skeleton className="mb-4 h-40 rounded-xl" /><Skeleton className="h-80 rounded-xl" /></>;
}

const Back = () => (
  <Link prefetch={false} href="/training/" className="mb-3 inline-flex items-center gap-1.5 text-xs text-muted hover:text-ink"><ArrowLeft aria-hidden className="size-3.5" />All jobs</Link>
);

function Watch({ id, begin }: { id: number; begin: TrainingJob }) {
  const { seen, mode } = useWatched(id, begin);
  const job = seen.job ?? begin;
  const model = useModel(job.model_id ?? 0).data?.name ?? `model ${job.model_id}`;
  const dataset = useDataset(job.dataset_id ?? 0).data?.name ?? `dataset ${job.dataset_id}`;
  return (
    <>
      <Back />
      <PageHeader
        title={`${job.replay_of ? "Replay" : "Job"} ${id}`}
        hint={<span className="flex flex-wrap items-center gap-x-2 gap-y-1"><Link prefetch={false} href={`/models/?id=${job.model_id}`} className="font-medium text-ink hover:underline">{model}</Link>on<Link prefetch={false} href={`/datasets/?id=${job.dataset_id}`} className="font-medium text-ink hover:underline">{dataset}</Link>{!!job.replay_of && <>· replays<Link prefetch={false} href={`/training/?id=${job.replay_of}`} className="font-medium text-ink hover:underline">job {job.replay_of}</Link></>}<span>· queued <Time value={job.created_at} /></span></span>}
        actions={<Actions job={job} />}
      />
      <div className="mb-4 flex flex-wrap items-center gap-2">
        <StatusBadge status={job.status} prefix="JOB_STATUS" />
        <Following mode={mode} done={ended(job)} />
        {(job.attempt ?? 0) > 1 && <Badge tone="warn">attempt {job.attempt}</Badge>}
        {job.next_attempt_at && <span className="text-xs text-muted">next attempt <Time value={job.next_attempt_at} /></span>}
      </div>
      <div className="grid grid-cols-1 gap-4 lg:grid-cols-6">
        {job.error && <div role="alert" className="rounded-xl bg-bad-soft px-5 py-4 text-bad lg:col-span-6"><p className="font-medium text-pretty">{job.error.message}</p><p className="mt-1 font-mono text-xs">{job.error.reason}</p></div>}
        {!!job.version && <Produced job={job} model={model} />}
        {job.verdict && <Verdict verdict={job.verdict} original={job.replay_of ?? 0} />}
        <div className="lg:col-span-6"><Progressed job={job} seen={seen} /></div>
        <Charts points={seen.points} job={job} />
        {seen.evaluations.length > 0 && <div className="lg:col-span-6"><Evaluations found={seen.evaluations} /></div>}
        <div className="lg:col-span-3"><Guards job={job} seen={seen} /></div>
        <div className="lg:col-span-3"><Happened list={seen.happened} /></div>
        <div className="lg:col-span-6"><Logs id={id} key={job.retried_at ?? ""} /></div>
        <div className="lg:col-span-6"><RecipeCard job={job} /></div>
      </div>
    </>
  );
}

/** Says by which way the page hears of the job. */
function Following({ mode, done }: { mode: LiveMode; done: boolean }) {
  const text = mode === "ended" || (done && mode === "live") ? "" : { connecting: "Connecting…", live: "Live", polling: "The live stream is away; asking every 2 s" }[mode];
  return <span role="status" className="contents">{text && <Badge dot tone={mode === "live" ? "ok" : mode === "polling" ? "warn" : "info"}>{text}</Badge>}</span>;
}

function Produced({ job, model }: { job: TrainingJob; model: string }) {
  return (
    <div className="flex flex-wrap items-center justify-between gap-3 rounded-xl bg-ok-soft px-5 py-3 text-ok lg:col-span-6">
      <p className="font-medium">It made <Link prefetch={false} className="underline underline-offset-2" href={`/models/?id=${job.model_id}&version=${job.version}`}>version {job.version} of {model}</Link>.</p>
      <Button asChild size="sm"><Link prefetch={false} href={`/playground/?model=${job.model_id}&version=${job.version}&version2=base`}><MessageSquare aria-hidden />Compare with the base model</Link></Button>
    </div>
  );
}

function Actions({ job }: { job: TrainingJob }) {
  const router = useRouter();
  const client = useQueryClient();
  const [asked, setAsked] = useState(false);
  const [busy, setBusy] = useState(false);
  const id = job.id ?? 0;
  const running = !ended(job);
  const act = async (call: () => Promise<TrainingJob>, said: (made: TrainingJob) => string) => {
    setBusy(true);
    try {
      const made = await call();
      client.setQueryData(keys.job(made.id ?? 0), made);
      void client.invalidateQueries({ queryKey: keys.jobs });
      toast(said(made));
      if (made.id !== id) router.push(`/training/?id=${made.id}`);
    } catch (thrown) {
      toast(asApiError(thrown).message, "bad");
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      {running && <Button variant="danger" onClick={() => setAsked(true)}><Ban aria-hidden />Cancel</Button>}
      {(job.status === "JOB_STATUS_FAILED" || job.status === "JOB_STATUS_CANCELLED") && <Button busy={busy} onClick={() => void act(() => retryJob(id), () => `Job ${id} waits again.`)}><RotateCcw aria-hidden />Retry</Button>}
      {job.status === "JOB_STATUS_COMPLETED" && !job.replay_of && <Button busy={busy} onClick={() => void act(() => replayJob(id), (made) => `Job ${made.id} replays job ${id}.`)}><Repeat aria-hidden />Replay</Button>}
      {!job.replay_of && <Button asChild><Link prefetch={false} href={`/training/?new=1&from=${id}`}><CopyIcon aria-hidden />Train again with changes</Link></Button>}
      <Confirm
        open={asked} onOpenChange={setAsked} danger action="Cancel the job" title={`Cancel job ${id}?`}
        onConfirm={async () => {
          await cancelJob(id);
          void client.invalidateQueries({ queryKey: keys.jobs });
          toast(`Job ${id} is cancelled.`);
        }}
      >
        It ends within one step and leaves no version. It can be retried from its last checkpoint.
      </Confirm>
    </>
  );
}
