import { Gauge } from "lucide-react";
import { useState } from "react";
import { type Schemas, useTrend } from "@/api";
import { short, word } from "@/lib/format";
import { Badge, Card, Empty, ErrorState, LineChart, Select, Skeleton } from "@/ui";

type Series = Schemas["QualitySeries"];
export const nameOf = (series: Series) => `${series.metric} · dataset ${series.dataset_id} · ${word(series.split, "EVALUATION_SPLIT")}`;
const keyOf = (series: Series) => `${series.metric} ${series.dataset_digest} ${series.split}`;

/** One metric over the versions, against the base model's. Only values of one series are comparable. */
export function Quality({ id }: { id: number }) {
  const trend = useTrend(id);
  const [chosen, setChosen] = useState("");
  const all = trend.data?.series ?? [];
  const gated = all.find(({ direction }) => !direction.endsWith("UNSPECIFIED"));
  const series = all.find((one) => keyOf(one) === chosen) ?? gated ?? all.find(({ metric }) => metric === "val_loss") ?? all[0];
  return (
    <Card
      title="Quality"
      hint="The newest evaluation of each version"
      actions={series && <Select aria-label="Series" className="h-8 w-64 text-xs" value={keyOf(series)} onValueChange={setChosen} options={all.map((one) => ({ value: keyOf(one), label: nameOf(one) }))} />}
    >
      {trend.error && !trend.data ? <ErrorState error={trend.error} retry={() => void trend.refetch()} />
        : trend.isPending ? <Skeleton className="h-64" />
        : series ? <Chart series={series} />
        : <Empty icon={Gauge} title="Nothing was evaluated yet">A training job that holds rows out records its <code className="font-mono text-xs">val_loss</code> here.</Empty>}
    </Card>
  );
}

function Chart({ series }: { series: Series }) {
  // From half a version before: the base model's line is one also where there is one version.
  const versions = series.points.map((point) => point.version);
  const x = [(versions[0] ?? 1) - 0.5, ...versions];
  const base = series.base_value;
  const lines = [
    { label: series.metric, values: [null, ...series.points.map((point) => point.value)], points: true },
    ...(base === undefined ? [] : [{ label: "base model", values: x.map(() => base), colour: "chart-5" as const, dashed: true }]),
  ];
  return (
    <>
      <LineChart label={nameOf(series)} x={x} lines={lines} fromZero={false} formatX={(value) => (Number.isInteger(value) ? `version ${value}` : "")} height={190} empty="Only the base model was evaluated" />
      <ol className="mt-3 flex gap-2 overflow-x-auto" tabIndex={0} aria-label="Values by version">
        {[...series.points].reverse().slice(0, 12).map((point) => (
          <li key={point.version} className="min-w-28 shrink-0 rounded-md border border-line px-3 py-2 text-xs">
            <p className="flex items-center justify-between gap-2 text-muted">v{point.version}<Change point={point} /></p>
            <p className="mt-0.5 font-medium">{short(point.value)}</p>
            <p className="text-2xs text-muted">{point.delta_previous === undefined ? "the first" : `${signed(point.delta_previous)} to before`}</p>
          </li>
        ))}
      </ol>
    </>
  );
}

const signed = (value: number) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${short(Math.abs(value))}`;

function Change({ point }: { point: Schemas["QualityPoint"] }) {
  const text = word(point.change, "QUALITY_CHANGE");
  if (text === "better") return <Badge tone="ok">better</Badge>;
  if (text === "worse") return <Badge tone="bad">worse</Badge>;
  return null;
}
