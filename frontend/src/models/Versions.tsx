import type { UseQueryResult } from "@tanstack/react-query";
import { Layers } from "lucide-react";
import Link from "next/link";
import { useRouter } from "next/navigation";
import type { Schemas } from "@/api";
import { bytes, short } from "@/lib/format";
import { Badge, Button, Card, type Column, Empty, ErrorState, StatusBadge, Table, Time } from "@/ui";

type Version = Schemas["ModelVersion"];
const MOST_METRICS = 4;
const FIRST = ["val_loss", "loss", "perplexity"];

/** The metrics that most versions have, those that people compare first. */
export function metricsOf(versions: readonly Version[], most = MOST_METRICS): string[] {
  const counts = new Map<string, number>();
  for (const { metrics } of versions) for (const name of Object.keys(metrics)) counts.set(name, (counts.get(name) ?? 0) + 1);
  const rank = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) - 1e9 : -(counts.get(name) ?? 0));
  return [...counts.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b)).slice(0, most);
}

export function Versions({ id, versions }: { id: number; versions: UseQueryResult<Version[]> }) {
  const router = useRouter();
  const rows = versions.data ?? NONE;
  return (
    <Card title="Versions" hint="Newest first; a heading sorts" flush>
      {versions.error && !versions.data ? <ErrorState error={versions.error} retry={() => void versions.refetch()} /> : (
        <Table
          label="Versions"
          columns={columns(id, metricsOf(rows))}
          rows={rows}
          rowId={(row) => row.version}
          rowHeight={52}
          maxHeight={420}
          loading={versions.isPending}
          onOpen={(row) => router.push(`/models/?id=${id}&version=${row.version}`)}
          initialSort={{ id: "version", desc: true }}
          empty={(
            <Empty icon={Layers} title="No version yet" action={<Button asChild variant="primary"><Link href={`/training/?new=1&model=${id}`} prefetch={false}>Train the first one</Link></Button>}>
              A training job makes it from a dataset.
            </Empty>
          )}
        />
      )}
    </Card>
  );
}

const NONE: readonly Version[] = [];

const columns = (id: number, metrics: readonly string[]): Column<Version>[] => [
  {
    id: "version", header: "Version", value: (row) => row.version, width: "minmax(0,2fr)",
    cell: (row) => (
      <span className="flex items-center gap-2">
        <Link href={`/models/?id=${id}&version=${row.version}`} prefetch={false} className="font-medium hover:underline">v{row.version}</Link>
        {row.aliases.map((alias) => <Badge key={alias} tone={alias === "latest" ? "info" : "accent"}>{alias}</Badge>)}
      </span>
    ),
  },
  { id: "status", header: "Status", value: (row) => row.status, width: "96px", cell: (row) => <StatusBadge status={row.status} prefix="VERSION_STATUS" /> },
  ...metrics.map((name, index): Column<Version> => ({
    id: name, header: name, align: "right", wide: index > 0, width: "minmax(72px,1fr)",
    value: (row) => row.metrics[name] ?? Number.POSITIVE_INFINITY,
    cell: (row) => (row.metrics[name] === undefined ? <span className="text-muted">–</span> : <span title={String(row.metrics[name])}>{short(row.metrics[name])}</span>),
  })),
  { id: "size", header: "Size", value: (row) => row.size_bytes, wide: true, align: "right", width: "72px", cell: (row) => <span className="text-xs text-muted">{bytes(row.size_bytes)}</span> },
  { id: "made", header: "Made", value: (row) => row.created_at ?? "", wide: true, align: "right", width: "92px", cell: (row) => <span className="text-xs text-muted"><Time value={row.created_at} /></span> },
];
