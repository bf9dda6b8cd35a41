"use client";

import Link from "next/link";
import { flat, sum, useJobs, useMetrics } from "@/api";
import { number } from "@/lib/format";
import { Card, ErrorState, Progress, Skeleton, StatusBadge } from "@/ui";

/** What waits and what runs: requests for answers, and training jobs. */
export function Queue() {
  const { samples } = useMetrics();
  const running = useJobs({ status: "JOB_STATUS_RUNNING" });
  const queued = useJobs({ status: "JOB_STATUS_QUEUED" });
  const last = samples.at(-1);
  // A job that has just begun may stand in both lists.
  const jobs = [...new Map([...flat(running, "jobs"), ...flat(queued, "jobs")].map((job) => [job.id, job])).values()];
  return (
    <Card className="h-full" title="Queue" hint="What runs and what waits">
      <dl className="grid grid-cols-2 gap-y-1 text-xs">
        {[
          ["Answers running", sum(last, "mlx_hub_inference_running")],
          ["Answers waiting", sum(last, "mlx_hub_inference_waiting")],
          ["Jobs running", running.data && flat(running, "jobs").length],
          ["Jobs waiting", queued.data && flat(queued, "jobs").length],
        ].map(([label, value]) => (
          <div key={label as string}>
            <dt className="text-muted">{label}</dt>
            <dd className="h-8 text-2xl font-semibold tracking-tight">{value === undefined ? <Skeleton className="mt-1 h-6 w-8" /> : number(value as number)}</dd>
          </div>
        ))}
      </dl>
      <div className="mt-4 min-h-10 border-t border-line pt-3">
        {running.error && !running.data ? <ErrorState error={running.error} className="py-2" /> : null}
        {running.data && queued.data && !jobs.length && <p className="text-xs text-muted">No job runs or waits.</p>}
        {jobs.slice(0, 3).map((job) => (
          <Link key={job.id} href={`/training/?id=${job.id}`} prefetch={false} className="-mx-2 block rounded-md px-2 py-1.5 hover:bg-raised">
            <span className="flex items-center justify-between gap-2 text-xs"><span className="font-medium">Job {job.id}</span><StatusBadge status={job.status} prefix="JOB_STATUS" /></span>
            <Progress className="mt-2" label={`Progress of job ${job.id}`} value={(job.progress?.step ?? 0) / Math.max(job.progress?.total_steps ?? 0, 1)} />
          </Link>
        ))}
      </div>
    </Card>
  );
}
