"use client";

import Link from "next/link";
import type { ReactNode } from "react";
import type { Schemas } from "@/api";
import { type GenerationRecord, useGeneration } from "@/api/playground";
import { duration, number, short, word } from "@/lib/format";
import { Copy, Dialog, Digest, ErrorState, Skeleton, Time } from "@/ui";

/** Where an answer came from, link by link: itself, how it was picked, version, job, data, code, base model. */
export function Why({ id, open, onOpenChange }: { id: string; open: boolean; onOpenChange: (open: boolean) => void }) {
  const record = useGeneration(id);
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Why did it say that?" hint="What is kept of the answer: everything but its text and the prompt's" className="max-w-2xl">
      <div className="mt-4 min-h-96">
        {record.error && !record.data ? <ErrorState error={record.error} retry={() => void record.refetch()} />
          : !record.data ? Array.from({ length: 6 }, (_, i) => <Skeleton key={i} className="mb-4 h-12" />)
          : <Chain record={record.data} />}
      </div>
    </Dialog>
  );
}

type Row = [label: string, value: ReactNode];
const digest = (value: string | undefined) => (value ? <Digest value={value} length={16} /> : "–");

function Chain({ record }: { record: GenerationRecord }) {
  const { provenance, lineage, request } = record;
  const training = lineage?.training;
  const data = lineage?.dataset;
  return (
    <ol className="relative ml-1.5 flex flex-col gap-5 border-l border-line pl-5">
      <Step title="Answer" rows={[
        ["Generation", <span key="id" className="inline-flex items-center"><code className="font-mono text-xs break-all">{record.generation_id}</code><Copy text={record.generation_id ?? ""} label="Copy the generation's id" /></span>],
        ["Ended", `${word(record.outcome, "GENERATION_OUTCOME")}${record.finish_reason ? ` (${word(record.finish_reason, "FINISH_REASON")})` : ""}, ${number(record.tokens ?? 0)} tokens in ${duration((record.latency_ms ?? 0) / 1000)}`],
        ["Text", digest(record.text_digest)], ["Prompt", digest(record.prompt_digest)],
        ["When", <Time key="at" value={record.started_at} />],
      ]} />
      <Step title="Sampling" rows={[...sampling(request), ...attention(provenance), ...drafts(record)]} />
      <Step title="Version" rows={[
        ["Model", <Link prefetch={false} key="model" className="underline underline-offset-2" href={`/models/?id=${provenance?.model_id}${provenance?.version ? `&version=${provenance.version}` : ""}`}>{provenance?.model_name}{provenance?.version ? ` version ${provenance.version}` : ", the base model alone"}</Link>],
        ...(provenance?.adapter_digest ? [["Adapter", digest(provenance.adapter_digest)] as Row] : []),
      ]} />
      {!!provenance?.job_id && <Step title="Training" rows={[
        ["Job", <Link prefetch={false} key="job" className="underline underline-offset-2" href={`/training/?id=${provenance.job_id}`}>job {provenance.job_id}{training?.attempt ? `, attempt ${training.attempt}` : ""}</Link>],
        ["Code", provenance.code_commit ? <span key="code" className="inline-flex items-center gap-1">{digest(provenance.code_commit)}{training?.code_dirty && <span className="text-warn">with uncommitted changes</span>}</span> : "outside a checkout"],
        ...(training?.lock_digest ? [["Packages", digest(training.lock_digest)] as Row] : []),
        ...(training ? [["Seed", String(training.seed ?? 0)] as Row] : []),
      ]} />}
      {lineage?.imported && <Step title="Import" rows={[["Source", lineage.imported.source ?? ""], ["By", lineage.imported.imported_by ?? ""]]} />}
      {(provenance?.dataset_digest || data) && <Step title="Data" rows={[
        ["Dataset", data ? <Link prefetch={false} key="data" className="underline underline-offset-2" href={`/datasets/?id=${data.id}`}>{data.name}</Link> : "–"],
        ["File", digest(provenance?.dataset_digest)],
        ...(data ? [["Rows", `${number(data.train_rows ?? 0)} trained on, ${number((data.valid_rows ?? 0) + (data.test_rows ?? 0))} held out`] as Row] : []),
      ]} />}
      <Step title="Base model" rows={[["Name", provenance?.base_model ?? ""], ["Files", digest(provenance?.base_digest)], ["Source", [lineage?.base_model?.source, lineage?.base_model?.source_revision].filter(Boolean).join(" ") || "–"]]} />
    </ol>
  );
}

function sampling(request: Schemas["GenerateRequestOutput"] | undefined): Row[] {
  if (!request) return [];
  const temperature = request.temperature ?? 0;
  return [
    ["Picked", temperature === 0 ? "the likeliest token each time" : `at temperature ${short(temperature)}, top p ${short(request.top_p ?? 1)}, top k ${request.top_k ?? 0}, min p ${short(request.min_p ?? 0)}`],
    ...(request.seed !== undefined && temperature > 0 ? [["Seed", <span key="seed" className="inline-flex items-center">{request.seed}<Copy text={String(request.seed)} label="Copy the seed" /></span>] as Row] : []),
    ["Tokens", `at most ${number(request.max_tokens ?? 0)}`],
  ];
}

/** What of the node's settings changed the tokens, if anything did. */
function attention(provenance: Schemas["Provenance"] | undefined): Row[] {
  return [
    ...(provenance?.kv_bits ? [["Attention", `keys and values in ${provenance.kv_bits} bits`] as Row] : []),
    ...(provenance?.max_kv_size ? [["Attention", `to the last ${number(provenance.max_kv_size)} tokens`] as Row] : []),
  ];
}

/** How many tokens were guessed, and by whom, if any were. */
function drafts({ drafted_tokens = 0, accepted_tokens = 0, provenance }: GenerationRecord): Row[] {
  if (!drafted_tokens) return [];
  const by = provenance?.draft_model ? `, some by ${provenance.draft_model}` : " from the text itself";
  return [["Drafted", `${number(drafted_tokens)} tokens${by}; ${number(accepted_tokens)} of them taken`]];
}

function Step({ title, rows }: { title: string; rows: readonly Row[] }) {
  return (
    <li className="relative">
      <span aria-hidden className="absolute top-1.5 -left-[1.55rem] size-2 rounded-full bg-accent outline-4 outline-surface" />
      <h3 className="text-sm font-semibold">{title}</h3>
      <dl className="mt-1">
        {rows.map(([label, value]) => (
          <div key={label} className="flex min-h-7 flex-wrap items-center gap-x-3 text-xs"><dt className="w-20 shrink-0 text-muted">{label}</dt><dd className="min-w-0 break-words">{value}</dd></div>
        ))}
      </dl>
    </li>
  );
}
