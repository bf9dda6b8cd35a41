"use client";

import { GraduationCap, Plus } from "lucide-react";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { flat, type Schemas, useDatasets, useJobs, useModels } from "@/api";
import { percent, short, word } from "@/lib/format";
import { useUrl } from "@/lib/url";
import { Badge, Button, Card, type Column, Empty, ErrorState, PageHeader, Progress, Select, StatusBadge, Table, Time } from "@/ui";

type Job = Schemas["TrainingJob"];
const STATES = ["JOB_STATUS_QUEUED", "JOB_STATUS_RUNNING", "JOB_STATUS_COMPLETED", "JOB_STATUS_FAILED", "JOB_STATUS_CANCELLED"] as const;

/** Every job, newest first, with its live state. */
export function JobList() {
  const router = useRouter();
  const [params, setParams] = useUrl();
  const status = STATES.find((name) => word(name, "JOB_STATUS") === params.get("status"));
  const model = Number(params.get("model")) || undefined;
  const jobs = useJobs({ ...(status && { status }), ...(model && { model_id: model }) });
  const models = flat(useModels(), "models");
  const datasets = flat(useDatasets(), "datasets");
  const rows = flat(jobs, "jobs");
  const filtered = !!status || !!model;
  return (
    <>
      <PageHeader title="Training" hint="Jobs run one at a time, in the order of arrival" actions={<NewButton />} />
      <div className="mb-4 flex flex-wrap gap-2">
        <Select aria-label="State" className="w-44 max-sm:flex-1" value={status ?? "all"} onValueChange={(value) => setParams({ status: value === "all" ? "" : word(value, "JOB_STATUS") })} options={[{ value: "all", label: "Every state" }, ...STATES.map((value) => ({ value, label: word(value, "JOB_STATUS") }))]} />
        <Select aria-label="Model" className="w-56 max-sm:flex-1" value={model ? String(model) : "all"} onValueChange={(value) => setParams({ model: value === "all" ? "" : value })} options={[{ value: "all", label: "Every model" }, ...models.map(({ id, name }) => ({ value: String(id), label: name }))]} />
      </div>
      <Card flush>
        {jobs.error && !jobs.data ? <ErrorState error={jobs.error} retry={() => void jobs.refetch()} /> : (
          <Table
            label="Training jobs"
            columns={columns(names(models), names(datasets))}
            rows={rows}
            rowId={(job) => job.id ?? 0}
            rowHeight={52}
            loading={jobs.isPending}
            onOpen={(job) => router.push(`/training/?id=${job.id}`)}
            onEnd={() => jobs.hasNextPage && !jobs.isFetching && void jobs.fetchNextPage()}
            empty={filtered ? (
              <Empty icon={GraduationCap} title="No such job" action={<Button size="sm" onClick={() => setParams({ status: "", model: "" })}>Show all jobs</Button>}>None is in this state for this model.</Empty>
            ) : (
              <Empty icon={GraduationCap} title="Nothing was trained yet" action={<NewButton />}>A job makes a model&apos;s next version from a dataset. You see its memory before it starts, and its loss while it runs.</Empty>
            )}
          />
        )}
      </Card>
    </>
  );
}

const NewButton = () => <Button asChild variant="primary"><Link prefetch={false} href="/training/?new=1"><Plus aria-hidden />New job</Link></Button>;

const names = (list: readonly { id?: number; name?: string }[]) => new Map(list.map(({ id, name }) => [id, name ?? ""]));

function columns(models: Map<number | undefined, string>, datasets: Map<number | undefined, string>): Column<Job>[] {
  return [
    {
      id: "job", header: "Job", value: (job) => job.id ?? 0, width: "minmax(0,2fr)",
      cell: (job) => (
        <Link prefetch={false} href={`/training/?id=${job.id}`} className="flex min-w-0 flex-col" tabIndex={-1}>
          <span className="truncate font-medium">{models.get(job.model_id) ?? `model ${job.model_id}`} <span className="font-normal text-muted">#{job.id}</span></span>
          <span className="truncate text-xs text-muted">{job.replay_of ? `replay of job ${job.replay_of}` : `on ${datasets.get(job.dataset_id) ?? `dataset ${job.dataset_id}`}`}</span>
        </Link>
      ),
    },
    { id: "status", header: "State", value: (job) => job.status ?? "", width: "104px", cell: (job) => <StatusBadge status={job.status} prefix="JOB_STATUS" /> },
    { id: "progress", header: "Progress", value: part, width: "minmax(120px,1.3fr)", wide: true, cell: (job) => <Bar job={job} /> },
    { id: "loss", header: "Loss", align: "right", width: "72px", wide: true, value: (job) => job.progress?.smoothed_loss ?? Infinity, cell: (job) => (job.progress?.step ? short(job.progress.smoothed_loss ?? job.progress.loss ?? NaN) : "–") },
    { id: "version", header: "Version", align: "right", width: "80px", wide: true, cell: (job) => (job.version ? <Badge tone="ok">v{job.version}</Badge> : <span className="text-muted">–</span>) },
    { id: "created", header: "Queued", align: "right", width: "80px", wide: true, value: (job) => job.created_at ?? "", cell: (job) => <span className="text-xs text-muted"><Time value={job.created_at} /></span> },
  ];
}

const part = (job: Job) => (job.progress?.step ?? 0) / Math.max(job.progress?.total_steps ?? 0, 1);

function Bar({ job }: { job: Job }) {
  const { step = 0, total_steps = 0 } = job.progress ?? {};
  if (!total_steps) return <span className="text-xs text-muted">not begun</span>;
  return (
    <span className="flex items-center gap-3">
      <Progress value={part(job)} label={`Progress of job ${job.id}`} className="flex-1" />
      <span className="w-10 shrink-0 text-right text-xs text-muted" title={`step ${step} of ${total_steps}`}>{percent(part(job))}</span>
    </span>
  );
}
