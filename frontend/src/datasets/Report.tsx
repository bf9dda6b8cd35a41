import { CircleCheck, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import type { Schemas } from "@/api";
import { cn } from "@/lib/cn";
import { number, percent } from "@/lib/format";
import { Badge, Card, StackedBar } from "@/ui";
import { Lengths } from "./Lengths";
import { lines } from "./shape";

type DatasetReport = Schemas["DatasetReport"];

export function Report({ report }: { report: DatasetReport }) {
  const { rows, padding, near_duplicates: near } = report;
  return (
    <>
      <Warnings report={report} />
      <div className="grid items-stretch gap-4 lg:grid-cols-2">
        <Lengths report={report} />
        <Card title="Rows to mend" hint="Where they stand in the file">
          <ul className="grid gap-4">
            <Share label="Truncated" note="longer than the longest row that is kept" rows={report.truncated} of={rows} />
            <Share label="Fully masked" note="nothing in them to train on; they refuse a job" rows={report.masked} of={rows} bad />
            <Share label="Refused" note={report.refusal || "the chat template takes them all"} rows={report.refused} of={rows} bad />
            <Share label="Repeated" note={repeats(report.exact_duplicates)} rows={{ count: report.exact_duplicates?.repeats ?? 0, lines: (report.exact_duplicates?.samples ?? []).flatMap((group) => group.lines.slice(1)).sort((a, b) => a - b) }} of={rows} />
            <Share label="Never seen" note="held out, masked or refused" rows={report.never_seen} of={rows} calm />
          </ul>
        </Card>
        <Card title="How the rows are used" hint="The split follows from the seed and each row alone">
          <StackedBar label="Split" total={rows} format={number} parts={[
            { label: "train", value: report.train_rows, colour: "chart-1" },
            { label: "validate", value: report.valid_rows, colour: "chart-2" },
            { label: "test", value: report.test_rows, colour: "chart-3" },
          ]} />
          <h3 className="mt-6 mb-2 text-xs font-medium">Padding</h3>
          <StackedBar label="Padding" total={padding?.positions ?? 0} format={number} parts={[
            { label: "tokens computed", value: (padding?.positions ?? 0) - (padding?.padded_positions ?? 0), colour: "chart-1" },
            { label: "for nothing", value: padding?.padded_positions ?? 0, colour: "chart-5", note: percent(padding?.share ?? 0, 1) },
          ]} />
          <p className="mt-3 text-xs text-pretty text-muted">Rows of a batch are filled up to its longest one. Rows of like lengths waste less.</p>
        </Card>
        <Card title="Rows that are alike" hint={near ? `Pairs that share ${percent(near.threshold)} or more of their text` : undefined}>
          {near?.pairs ? <Pairs near={near} /> : <p className="flex items-center gap-2 text-muted"><CircleCheck aria-hidden className="size-4 text-ok" />No two rows are nearly the same.</p>}
          {near && !near.complete && <p className="mt-3 text-xs text-muted">{number(near.compared_rows)} rows were compared; there may be more.</p>}
        </Card>
      </div>
    </>
  );
}

const repeats = (found: DatasetReport["exact_duplicates"]) => (found?.groups ? `the same bytes as an earlier row, in ${number(found.groups)} groups` : "no two rows are the same");

function Warnings({ report }: { report: DatasetReport }) {
  const { warnings } = report;
  if (!warnings.length)
    return <p role="status" className="flex items-center gap-3 rounded-xl border border-line bg-surface px-5 py-3"><CircleCheck aria-hidden className="size-4 text-ok" />Nothing to mend: a job can train on these rows as they are.</p>;
  return (
    <ul aria-label="Warnings" className="divide-y divide-line rounded-xl border border-line bg-surface">
      {warnings.map((warning) => (
        <li key={warning.code} className="flex items-start gap-3 px-5 py-3">
          <TriangleAlert aria-hidden className={cn("mt-0.5 size-4 shrink-0", FATAL.has(warning.code) ? "text-bad" : "text-warn")} />
          <span className="min-w-0 flex-1 text-pretty break-words">{warning.text}</span>
          {FATAL.has(warning.code) && <Badge tone="bad">refuses a job</Badge>}
        </li>
      ))}
    </ul>
  );
}

const FATAL = new Set(["NO_TRAINING_ROWS", "MASKED_ROWS", "REFUSED_ROWS"]);

interface ShareProps { label: string; note: ReactNode; rows: Schemas["RowLines"] | undefined; of: number; bad?: boolean; calm?: boolean }

/** A count of rows as its share of all, with the lines they stand in. */
function Share({ label, note, rows, of, bad, calm }: ShareProps) {
  const count = rows?.count ?? 0;
  const part = count / Math.max(of, 1);
  return (
    <li>
      <p className="flex items-baseline gap-2"><span className="font-medium">{label}</span><span className="ml-auto font-medium">{number(count)}</span><span className="w-14 text-right text-xs text-muted">{percent(part, part && part < 0.1 ? 1 : 0)}</span></p>
      <div aria-hidden className="mt-1.5 h-1.5 overflow-hidden rounded-full bg-raised">
        <div className={cn("h-full rounded-full", bad ? "bg-bad" : calm ? "bg-chart-5" : "bg-chart-3", count > 0 && "min-w-1")} style={{ width: `${part * 100}%` }} />
      </div>
      <p className="mt-1 truncate text-xs text-muted">{count && rows?.lines.length ? `lines ${lines(rows.lines)}` : note}</p>
    </li>
  );
}

function Pairs({ near }: { near: Schemas["NearDuplicates"] }) {
  return (
    <>
      <p className="text-pretty">{number(near.pairs)} {near.pairs === 1 ? "pair" : "pairs"}{near.straddling_pairs ? <>, <strong className="font-semibold text-warn">{number(near.straddling_pairs)} of a row to train on and one held out</strong>: what is scored was all but trained on.</> : ", all on one side of the split."}</p>
      <ul tabIndex={0} aria-label="Pairs" className="mt-3 max-h-44 divide-y divide-line overflow-y-auto text-xs">
        {near.samples.map((pair) => (
          <li key={`${pair.line}-${pair.other_line}`} className="flex items-center gap-3 py-1.5">
            <span className="flex-1">lines {pair.line} and {pair.other_line}</span>
            {pair.straddles && <Badge tone="warn">across the split</Badge>}
            <span className="w-12 text-right font-medium">{percent(pair.similarity)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
