"use client";

import { Boxes, GraduationCap, Pencil, Trash2 } from "lucide-react";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useState } from "react";
import { ApiError, type Schemas, useModel, useVersions } from "@/api";
import { Button, Card, Empty, ErrorState, PageHeader, Skeleton, Time } from "@/ui";
import { Aliases } from "./Aliases";
import { Gate } from "./Gate";
import { History } from "./History";
import { Quality } from "./Quality";
import { Tags } from "./Tags";
import { Versions } from "./Versions";

const EditModel = dynamic(() => import("./EditModel"), { ssr: false });
const DeleteModel = dynamic(() => import("./DeleteModel"), { ssr: false });

export default function Model({ id }: { id: number }) {
  const model = useModel(id);
  const versions = useVersions(id);
  const [open, setOpen] = useState<"edit" | "delete" | null>(null);
  if (model.error && !model.data) return <Missing error={model.error} retry={() => void model.refetch()} />;
  const found = model.data;
  const close = () => setOpen(null);
  return (
    <>
      <PageHeader
        title={found?.name ?? <Skeleton className="h-7 w-48" />}
        hint={<span className="flex min-h-5 flex-wrap items-center gap-x-2"><Link href="/models/" prefetch={false} className="hover:text-ink hover:underline">Models</Link><span aria-hidden>/</span>{found ? `over ${found.base_model}` : ""}</span>}
        actions={found && (
          <>
            <Button asChild variant="primary"><Link href={`/training/?new=1&model=${id}`} prefetch={false}><GraduationCap aria-hidden />Train</Link></Button>
            <Button onClick={() => setOpen("edit")}><Pencil aria-hidden />Edit</Button>
            <Button variant="danger" onClick={() => setOpen("delete")}><Trash2 aria-hidden />Delete</Button>
          </>
        )}
      />
      <div className="grid items-start gap-4 lg:grid-cols-3">
        <div className="min-w-0 lg:col-span-3"><Versions id={id} versions={versions} /></div>
        <div className="grid min-w-0 gap-4 lg:col-span-2">
          <Quality id={id} />
          <History id={id} />
        </div>
        <div className="grid min-w-0 gap-4">
          <About model={found} />
          <Aliases id={id} versions={versions.data} />
          <Gate id={id} />
        </div>
      </div>
      {found && open === "edit" && <EditModel model={found} onClose={close} />}
      {found && open === "delete" && <DeleteModel model={found} versions={versions.data?.length ?? 0} onClose={close} />}
    </>
  );
}

/** A model or version that is not there is no failure of the hub. */
export function Missing({ error, retry }: { error: unknown; retry: () => void }) {
  const gone = error instanceof ApiError && /^(MODEL|VERSION)_NOT_FOUND$/.test(error.reason);
  const back = <Button asChild><Link href="/models/" prefetch={false}>All models</Link></Button>;
  return (
    <>
      <PageHeader title="Models" />
      <Card>{gone ? <Empty icon={Boxes} title={`There is none: ${error.message}`} action={back}>It may have been deleted.</Empty> : <ErrorState error={error} retry={retry} />}</Card>
    </>
  );
}

function About({ model }: { model: Schemas["Model"] | undefined }) {
  if (!model) return <Card title="About"><Skeleton className="h-28" /></Card>;
  return (
    <Card title="About">
      <p className="text-pretty break-words whitespace-pre-wrap">{model.description || <span className="text-muted">It has no description.</span>}</p>
      {Object.keys(model.tags).length > 0 && <div className="mt-3"><Tags tags={model.tags} /></div>}
      <dl className="mt-4 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-xs">
        <dt className="text-muted">Task</dt><dd className="truncate text-right">{model.task_type}</dd>
        <dt className="text-muted">Base model</dt><dd className="truncate text-right">{model.base_model}</dd>
        <dt className="text-muted">Made</dt><dd className="text-right"><Time value={model.created_at} /></dd>
        <dt className="text-muted">Changed</dt><dd className="text-right"><Time value={model.updated_at} /></dd>
      </dl>
    </Card>
  );
}
