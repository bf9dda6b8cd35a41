"use client";

import { Boxes, Plus, X } from "lucide-react";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { type ReactNode, useMemo } from "react";
import { type Schemas, useModels } from "@/api";
import { cn } from "@/lib/cn";
import { number } from "@/lib/format";
import { useUrl } from "@/lib/url";
import { Button, Card, type Column, Empty, ErrorState, PageHeader, Select, Table, Time, UrlInput } from "@/ui";
import { Tags } from "./Tags";

const CreateModel = dynamic(() => import("./CreateModel"), { ssr: false });

type Model = Schemas["Model"];
const TASKS = [{ value: "any", label: "Any task" }, { value: "text-generation", label: "text-generation" }];

export function List() {
  const [params, change] = useUrl();
  const router = useRouter();
  const filter = { name_prefix: params.get("name") ?? "", task_type: params.get("task") ?? "", tag: params.get("tag") ?? "" };
  const models = useModels(filter);
  const rows = useMemo(() => (models.data?.pages ?? []).flatMap((page) => page.models), [models.data]);
  const filtered = Object.values(filter).some(Boolean);
  const creating = params.get("new") === "1";
  const create = (open: boolean) => change({ new: open ? "1" : "" });
  const button = <Button variant="primary" onClick={() => create(true)}><Plus aria-hidden />New model</Button>;
  const count = `${number(rows.length)}${models.hasNextPage ? "+" : ""} ${rows.length === 1 ? "model" : "models"}`;
  return (
    <>
      <PageHeader title="Models" hint="Every model adapts an imported base model; its versions come from training jobs" actions={button} />
      <Card flush>
        <div className="flex flex-wrap items-center gap-2 border-b border-line p-3">
          <UrlInput name="name" label="Name begins with" />
          <Select aria-label="Task" className="w-44 max-md:w-full" value={filter.task_type || "any"} onValueChange={(value) => change({ task: value === "any" ? "" : value })} options={TASKS} />
          <UrlInput name="tag" label="Tag, as key or key=value" />
          {filtered && <Button variant="ghost" size="sm" onClick={() => change({ name: "", task: "", tag: "" })}><X aria-hidden />Clear</Button>}
          <span role="status" className="ml-auto px-2 text-xs text-muted">{models.data ? count : ""}</span>
        </div>
        {models.error && !models.data ? <ErrorState error={models.error} retry={() => void models.refetch()} /> : (
          <Table
            label="Models"
            columns={columns((tag) => change({ tag }))}
            rows={rows}
            rowId={(row) => row.id}
            rowHeight={52}
            loading={models.isPending}
            onOpen={(row) => router.push(`/models/?id=${row.id}`)}
            onEnd={() => models.hasNextPage && !models.isFetching && void models.fetchNextPage()}
            initialSort={{ id: "updated", desc: true }}
            empty={filtered
              ? <Empty icon={Boxes} title="No model is like that">Change the filters above, or clear them.</Empty>
              : <Empty icon={Boxes} title="No model yet" action={button}>A model is a name over a base model, which <code className="font-mono text-xs">mlx-hub models import</code> brings in. Training makes its versions.</Empty>}
          />
        )}
      </Card>
      {creating && <CreateModel onOpenChange={create} />}
    </>
  );
}

const columns = (pick: (tag: string) => void): Column<Model>[] => [
  {
    id: "name", header: "Name", value: (row) => row.name, width: "minmax(0,2.2fr)",
    cell: (row): ReactNode => (
      <>
        <Link href={`/models/?id=${row.id}`} prefetch={false} className="font-medium hover:underline">{row.name}</Link>
        <p className={cn("truncate text-xs text-muted", !row.description && "md:hidden")}>{row.description || row.base_model}</p>
      </>
    ),
  },
  { id: "base", header: "Base model", value: (row) => row.base_model, wide: true, width: "minmax(0,1.4fr)", cell: (row) => <span className="text-muted">{row.base_model}</span> },
  { id: "tags", header: "Tags", wide: true, width: "minmax(0,1.4fr)", cell: (row) => <Tags tags={row.tags} onPick={pick} most={2} /> },
  { id: "updated", header: "Changed", value: (row) => row.updated_at ?? "", width: "96px", align: "right", cell: (row) => <span className="text-xs text-muted"><Time value={row.updated_at} /></span> },
];
