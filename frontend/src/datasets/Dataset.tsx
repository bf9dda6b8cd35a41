"use client";

import { useQueryClient } from "@tanstack/react-query";
import { Boxes, Database, Download, GraduationCap, Trash2 } from "lucide-react";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { ApiError, asApiError, deleteDataset, download, flat, keys, type ReportQuery, type Schemas, useDataset, useModels, useReport } from "@/api";
import { bytes, number } from "@/lib/format";
import { useUrl } from "@/lib/url";
import { Badge, Button, Card, ConfirmTyped, Digest, Empty, ErrorState, Field, Input, PageHeader, Select, Skeleton, Time, toast } from "@/ui";
import { schemaOf } from "./List";
import { Report } from "./Report";
import { Rows } from "./Rows";

export default function Dataset({ id }: { id: number }) {
  const client = useQueryClient();
  const router = useRouter();
  const dataset = useDataset(id);
  const [deleting, setDeleting] = useState(false);
  const found = dataset.data;
  if (dataset.error && !found) return <Missing error={dataset.error} retry={() => void dataset.refetch()} />;
  const remove = async () => {
    await deleteDataset(id);
    router.push("/datasets/");
    toast(`Dataset ${found?.name} is deleted.`);
    await client.invalidateQueries({ queryKey: [...keys.datasets, "list"] });
  };
  return (
    <>
      <PageHeader
        title={found?.name ?? <Skeleton className="h-7 w-48" />}
        hint={(
          <span className="flex min-h-6 flex-wrap items-center gap-x-2">
            <Link href="/datasets/" prefetch={false} className="hover:text-ink hover:underline">Datasets</Link><span aria-hidden>/</span>
            {found && <><Badge>{schemaOf(found)}</Badge>{number(found.rows)} rows, {bytes(found.size_bytes)}, {found.path || "uploaded"} <Time value={found.created_at} /><Digest value={found.checksum} length={10} /></>}
          </span>
        )}
        actions={found && (
          <>
            <Button asChild variant="primary"><Link href={`/training/?new=1&dataset=${id}`} prefetch={false}><GraduationCap aria-hidden />Train</Link></Button>
            <Button onClick={() => void fetch(found)}><Download aria-hidden />Download</Button>
            <Button variant="danger" onClick={() => setDeleting(true)}><Trash2 aria-hidden />Delete</Button>
          </>
        )}
      />
      <Reported id={id} />
      <div className="mt-4"><Rows id={id} /></div>
      {found && deleting && (
        <ConfirmTyped title={`Delete ${found.name}?`} name={found.name} action="Delete" onClose={() => setDeleting(false)} onConfirm={remove}>
          Its rows go for good. A dataset that a job, version, evaluation or gate refers to can&apos;t be deleted.
        </ConfirmTyped>
      )}
    </>
  );
}

const fetch = (dataset: Schemas["Dataset"]) =>
  download(`/datasets/${dataset.id}/file`, `${dataset.name}.jsonl`).catch((thrown: unknown) => toast(asApiError(thrown).message));

function Missing({ error, retry }: { error: unknown; retry: () => void }) {
  const gone = error instanceof ApiError && error.reason === "DATASET_NOT_FOUND";
  const back = <Button asChild><Link href="/datasets/" prefetch={false}>All datasets</Link></Button>;
  return (
    <>
      <PageHeader title="Datasets" />
      <Card>{gone ? <Empty icon={Database} title={`There is none: ${error.message}`} action={back}>It may have been deleted.</Empty> : <ErrorState error={error} retry={retry} />}</Card>
    </>
  );
}

/** The report on one model; which, and for what lengths, stands in the address. */
function Reported({ id }: { id: number }) {
  const [params, change] = useUrl();
  const whole = (name: string) => Number(params.get(name)) || undefined;
  const held = params.get("held");
  const models = useModels();
  const all = flat(models, "models");
  const query: ReportQuery = {
    model_id: whole("model") ?? all[0]?.id ?? 0,
    max_seq_length: whole("length"),
    batch_size: whole("batch"),
    validation_fraction: held ? Number(held) : undefined,
  };
  const report = useReport(id, query);
  const refusal = report.error instanceof ApiError ? report.error : null;
  if (models.error && !models.data) return <Card><ErrorState error={models.error} retry={() => void models.refetch()} /></Card>;
  if (models.data && !all.length)
    return <Card><Empty icon={Boxes} title="A report is made for a model" action={<Button asChild><Link href="/models/?new=1" prefetch={false}>New model</Link></Button>}>The model&apos;s tokenizer and chat template say how long each row is. There is no model yet.</Empty></Card>;
  return (
    <div className="grid gap-4">
      <Card title="Report" hint="What a training job on this model would make of the rows">
        <Asked key={JSON.stringify(query)} query={query} models={all} refusal={refusal} onAsk={change} busy={report.isFetching} />
      </Card>
      {report.data ? <Report report={report.data} />
        : refusal && Object.keys(refusal.fields).length ? null
        : report.error ? <Card><ErrorState error={report.error} retry={() => void report.refetch()} /></Card>
        : <div className="grid gap-4 lg:grid-cols-2" role="status" aria-label="The report is being made"><Skeleton className="h-72" /><Skeleton className="h-72" /><Skeleton className="h-56" /><Skeleton className="h-56" /></div>}
    </div>
  );
}

interface AskedProps { query: ReportQuery; models: readonly Schemas["Model"][]; refusal: ApiError | null; onAsk: (patch: Record<string, string>) => void; busy: boolean }

function Asked({ query, models, refusal, onAsk, busy }: AskedProps) {
  const [length, setLength] = useState(String(query.max_seq_length ?? 512));
  const [batch, setBatch] = useState(String(query.batch_size ?? 4));
  const [held, setHeld] = useState(String(query.validation_fraction ?? 0.1));
  const send = (event: FormEvent) => {
    event.preventDefault();
    onAsk({ length, batch, held });
  };
  return (
    <form onSubmit={send} className="grid grid-cols-2 items-start gap-x-4 gap-y-2 md:grid-cols-[minmax(0,2fr)_repeat(3,minmax(0,1fr))_auto]" noValidate>
      <Field label="Model" name="model_id" refusal={refusal} className="max-md:col-span-2">
        <Select value={query.model_id ? String(query.model_id) : ""} onValueChange={(model) => onAsk({ model })} placeholder="…" options={models.map((model) => ({ value: String(model.id), label: model.name }))} />
      </Field>
      <Field label="Longest row" name="max_seq_length" refusal={refusal} hint="tokens"><Input inputMode="numeric" value={length} onChange={(event) => setLength(event.target.value)} /></Field>
      <Field label="Batch" name="batch_size" refusal={refusal} hint="rows"><Input inputMode="numeric" value={batch} onChange={(event) => setBatch(event.target.value)} /></Field>
      <Field label="Held out" name="validation_fraction" refusal={refusal} hint="share of the rows"><Input inputMode="decimal" value={held} onChange={(event) => setHeld(event.target.value)} /></Field>
      <div className="pt-[22px]"><Button type="submit" busy={busy}>Report</Button></div>
    </form>
  );
}
