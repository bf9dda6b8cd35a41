"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { ArrowLeft, ChevronDown } from "lucide-react";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { useDeferredValue, useEffect, useState } from "react";
import { type ApiError, asApiError, flat, keys, type Schemas, useDatasets, useJob, useModels } from "@/api";
import { createJob, type JobRequest, useForecast } from "@/api/training";
import { number } from "@/lib/format";
import { useUrl } from "@/lib/url";
import { Button, Card, Empty, ErrorState, Field, PageHeader, Select, Skeleton, toast } from "@/ui";
import { Forecast } from "./Forecast";
import { type Form, formOf, GROUPS, request } from "./recipe";
import { RecipeField } from "./RecipeField";

/** The form of a new job, with its memory before it is queued. */
export function NewJob() {
  const [params] = useUrl();
  const from = Number(params.get("from"));
  const job = useJob(from);
  if (from && job.error) return <ErrorState error={job.error} retry={() => void job.refetch()} />;
  if (from && !job.data) return <><Skeleton className="mb-6 h-11 w-64" /><Skeleton className="h-96 rounded-xl" /></>;
  const begin = job.data ? formOf(job.data) : { model_id: params.get("model") ?? "", dataset_id: params.get("dataset") ?? "" };
  return <Filled key={from} begin={begin} from={from} />;
}

function Filled({ begin, from }: { begin: Form; from: number }) {
  const router = useRouter();
  const client = useQueryClient();
  const [form, setForm] = useState<Form>(begin);
  const body = request(form);
  const asked = useSettled(body);
  const forecast = useForecast(asked);
  const create = useMutation({
    mutationFn: (wanted: JobRequest) => createJob(wanted),
    onSuccess: (job) => {
      client.setQueryData(keys.job(job.id ?? 0), job);
      void client.invalidateQueries({ queryKey: keys.jobs });
      toast(`Job ${job.id} is queued.`);
      router.push(`/training/?id=${job.id}`);
    },
  });
  const refusal = create.error ? asApiError(create.error) : asked && forecast.error ? asApiError(forecast.error) : null;
  const set = (name: string, value: string) => {
    setForm((now) => ({ ...now, [name]: value }));
    if (create.error) create.reset();
  };
  return (
    <>
      <Link prefetch={false} href="/training/" className="mb-3 inline-flex items-center gap-1.5 text-xs text-muted hover:text-ink"><ArrowLeft aria-hidden className="size-3.5" />All jobs</Link>
      <PageHeader title={from ? `Train again, as job ${from} did` : "New training job"} hint="What is left empty takes the default that it shows" />
      <form
        className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_20rem]" noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (body) create.mutate(body);
        }}
      >
        <div className="flex min-w-0 flex-col gap-4">
          <What form={form} set={set} refusal={refusal} />
          {GROUPS.map((group, index) => <Group key={group.title} {...group} form={form} set={set} refusal={refusal} open={index === 0 || group.fields.some((name) => form[name])} />)}
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          <Forecast forecast={forecast.data} asked={!!asked} fetching={forecast.isFetching} error={asked && forecast.error ? asApiError(forecast.error) : null} onAdvice={set} />
          {create.error && <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-bad">{asApiError(create.error).message}</p>}
          <Button type="submit" variant="primary" busy={create.isPending} disabled={!body}>Start training</Button>
        </div>
      </form>
    </>
  );
}

interface PartProps { form: Form; set: (name: string, value: string) => void; refusal: ApiError | null }

function What({ form, set, refusal }: PartProps) {
  const models = useModels();
  const datasets = useDatasets();
  const error = (models.error && !models.data && models.error) || (datasets.error && !datasets.data && datasets.error);
  if (error) return <Card><ErrorState error={error} retry={() => { void models.refetch(); void datasets.refetch(); }} /></Card>;
  if (models.data && !flat(models, "models").length) return <Card><Empty title="There is no model yet" action={<Button asChild size="sm"><Link prefetch={false} href="/models/">Models</Link></Button>}>Register one over an imported base model first.</Empty></Card>;
  if (datasets.data && !flat(datasets, "datasets").length) return <Card><Empty title="There is no dataset yet" action={<Button asChild size="sm"><Link prefetch={false} href="/datasets/">Datasets</Link></Button>}>Upload one first.</Empty></Card>;
  return (
    <Card title="What to train, on what">
      <div className="grid gap-x-4 sm:grid-cols-2">
        <Field label="Model" name="model_id" refusal={refusal}>
          <Select value={form.model_id ?? ""} onValueChange={(value) => set("model_id", value)} disabled={!models.data} placeholder="Choose a model" options={flat(models, "models").map((model: Schemas["Model"]) => ({ value: String(model.id), label: model.name, note: model.base_model }))} />
        </Field>
        <Field label="Dataset" name="dataset_id" refusal={refusal}>
          <Select value={form.dataset_id ?? ""} onValueChange={(value) => set("dataset_id", value)} disabled={!datasets.data} placeholder="Choose a dataset" options={flat(datasets, "datasets").map((dataset: Schemas["Dataset"]) => ({ value: String(dataset.id), label: dataset.name, note: `${number(dataset.rows ?? 0)} rows` }))} />
        </Field>
      </div>
    </Card>
  );
}

function Group({ title, hint, fields, open, ...part }: PartProps & { title: string; hint: string; fields: readonly string[]; open: boolean }) {
  const [shown, setShown] = useState(open);
  const wrong = fields.some((name) => part.refusal?.fields[name]);
  return (
    <details open={shown || wrong} onToggle={(event) => setShown(event.currentTarget.open)} className="group rounded-xl border border-line bg-surface">
      <summary className="flex min-h-12 list-none items-center justify-between gap-3 rounded-xl px-5 py-2 [&::-webkit-details-marker]:hidden">
        <span><h2 className="inline text-sm font-semibold">{title}</h2><span className="ml-2 text-xs text-muted">{hint}</span></span>
        <ChevronDown aria-hidden className="size-4 shrink-0 text-muted transition-transform group-open:rotate-180" />
      </summary>
      <div className="grid gap-x-4 gap-y-3 px-5 pt-2 pb-4 sm:grid-cols-2">
        {fields.map((name) => <RecipeField key={name} name={name} {...part} />)}
      </div>
    </details>
  );
}

/** The request once it has stood for a moment: not every key asks. */
function useSettled(body: JobRequest | null): JobRequest | null {
  const text = useDeferredValue(JSON.stringify(body));
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 350);
    return () => clearTimeout(timer);
  }, [text]);
  return JSON.parse(settled) as JobRequest | null;
}
