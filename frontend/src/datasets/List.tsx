"use client";

import { Database, FolderInput, Upload as UploadIcon } from "lucide-react";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { type DragEvent, useMemo, useRef, useState } from "react";
import { type Schemas, useDatasets } from "@/api";
import { cn } from "@/lib/cn";
import { number, word } from "@/lib/format";
import { useUrl } from "@/lib/url";
import { Badge, Button, Bytes, Card, type Column, Digest, Empty, ErrorState, PageHeader, Table, Time, UrlInput } from "@/ui";

const Upload = dynamic(() => import("./Upload"), { ssr: false });
const Register = dynamic(() => import("./Register"), { ssr: false });

export function List() {
  const [params, change] = useUrl();
  const router = useRouter();
  const prefix = params.get("name") ?? "";
  const datasets = useDatasets({ name_prefix: prefix });
  const rows = useMemo(() => (datasets.data?.pages ?? []).flatMap((page) => page.datasets), [datasets.data]);
  const picker = useRef<HTMLInputElement>(null);
  const [file, setFile] = useState<File | null>(null);
  const [registering, setRegistering] = useState(false);
  const { over, ...drop } = useDrop(setFile);
  const pick = () => picker.current?.click();
  return (
    <div {...drop} className="min-h-[60vh]">
      <PageHeader
        title="Datasets"
        hint="JSONL files, each kept as it came in"
        actions={(
          <>
            <Button onClick={() => setRegistering(true)}><FolderInput aria-hidden />By path</Button>
            <Button variant="primary" onClick={pick}><UploadIcon aria-hidden />Upload</Button>
          </>
        )}
      />
      <input ref={picker} type="file" accept=".jsonl,.ndjson,.json,.txt" aria-label="File to upload" tabIndex={-1} className="sr-only" onChange={(event) => { setFile(event.target.files?.[0] ?? null); event.target.value = ""; }} />
      <button type="button" onClick={pick} className={cn("mb-4 flex w-full items-center justify-center gap-3 rounded-xl border border-dashed px-4 py-6 text-sm transition-colors", over ? "border-accent bg-accent-soft text-accent" : "border-line-strong/60 text-muted hover:border-line-strong hover:text-ink")}>
        <UploadIcon aria-hidden className="size-4 shrink-0" />
        {over ? "Drop it to upload" : <span>Drop a JSONL file here, or <span className="font-medium text-ink underline underline-offset-2">choose one</span></span>}
      </button>
      <Card flush>
        <div className="flex flex-wrap items-center gap-2 border-b border-line p-3">
          <UrlInput name="name" label="Name begins with" />
          <span role="status" className="ml-auto px-2 text-xs text-muted">{datasets.data ? `${number(rows.length)}${datasets.hasNextPage ? "+" : ""} ${rows.length === 1 ? "dataset" : "datasets"}` : ""}</span>
        </div>
        {datasets.error && !datasets.data ? <ErrorState error={datasets.error} retry={() => void datasets.refetch()} /> : (
          <Table
            label="Datasets"
            columns={COLUMNS}
            rows={rows}
            rowId={(row) => row.id}
            rowHeight={52}
            loading={datasets.isPending}
            onOpen={(row) => router.push(`/datasets/?id=${row.id}`)}
            onEnd={() => datasets.hasNextPage && !datasets.isFetching && void datasets.fetchNextPage()}
            initialSort={{ id: "made", desc: true }}
            empty={prefix
              ? <Empty icon={Database} title="No dataset begins like that" action={<Button onClick={() => change({ name: "" })}>Show all</Button>} />
              : <Empty icon={Database} title="No dataset yet">One JSON object a line: <code className="font-mono text-xs">messages</code>, <code className="font-mono text-xs">prompt</code> and <code className="font-mono text-xs">completion</code>, or <code className="font-mono text-xs">text</code>.</Empty>}
          />
        )}
      </Card>
      {file && <Upload file={file} onClose={() => setFile(null)} />}
      {registering && <Register onClose={() => setRegistering(false)} />}
    </div>
  );
}

/** Takes a file that is dropped anywhere on the page. */
function useDrop(take: (file: File | null) => void) {
  const [depth, setDepth] = useState(0);
  const isFile = (event: DragEvent) => event.dataTransfer.types.includes("Files");
  return {
    over: depth > 0,
    onDragEnter: (event: DragEvent) => isFile(event) && setDepth((now) => now + 1),
    onDragLeave: (event: DragEvent) => isFile(event) && setDepth((now) => Math.max(0, now - 1)),
    onDragOver: (event: DragEvent) => isFile(event) && event.preventDefault(),
    onDrop: (event: DragEvent) => {
      if (!isFile(event)) return;
      event.preventDefault();
      setDepth(0);
      take(event.dataTransfer.files[0] ?? null);
    },
  };
}

export const schemaOf = (dataset: Schemas["Dataset"]) => word(dataset.schema, "DATASET_SCHEMA");

const COLUMNS: readonly Column<Schemas["Dataset"]>[] = [
  {
    id: "name", header: "Name", value: (row) => row.name, width: "minmax(0,2fr)",
    cell: (row) => (
      <>
        <Link href={`/datasets/?id=${row.id}`} prefetch={false} className="font-medium hover:underline">{row.name}</Link>
        <p className="truncate text-xs text-muted">{row.path || "uploaded"}</p>
      </>
    ),
  },
  { id: "schema", header: "Rows are", value: schemaOf, wide: true, width: "110px", cell: (row) => <Badge>{schemaOf(row)}</Badge> },
  { id: "rows", header: "Rows", value: (row) => row.rows, width: "72px", align: "right", cell: (row) => number(row.rows) },
  { id: "size", header: "Size", value: (row) => row.size_bytes, wide: true, width: "88px", align: "right", cell: (row) => <Bytes value={row.size_bytes} /> },
  { id: "digest", header: "sha256", wide: true, width: "130px", cell: (row) => <Digest value={row.checksum} length={10} /> },
  { id: "made", header: "Added", value: (row) => row.created_at ?? "", width: "92px", align: "right", cell: (row) => <span className="text-xs text-muted"><Time value={row.created_at} /></span> },
];
