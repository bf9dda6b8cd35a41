import type { Schemas } from "@/api";
import { cn } from "@/lib/cn";
import { number } from "@/lib/format";
import { Card, StackedBar } from "@/ui";
import { shape } from "./shape";

/** How long the rows are in tokens, and where they would be cut. */
export function Lengths({ report }: { report: Schemas["DatasetReport"] }) {
  const { tokens } = report;
  const most = report.parameters?.max_seq_length ?? 512;
  if (!tokens?.histogram.length) return <Card title="Length of the rows"><p className="text-muted">No row could be encoded.</p></Card>;
  const { bars, mark } = shape(tokens.histogram, most);
  const rest = Math.max(0, tokens.total - tokens.cut - tokens.trained);
  return (
    <Card title="Length of the rows" hint={`In tokens of ${report.base_model?.name ?? "the base model"}`}>
      <figure aria-label="Rows by length in tokens">
        <div aria-hidden className="relative flex h-36 items-end gap-1.5 border-b border-line">
          {bars.map((bar) => (
            <div key={bar.label} title={`${bar.label} tokens: ${bar.rows} rows`} className="flex h-full flex-1 flex-col justify-end text-center text-2xs text-muted">
              {bar.rows > 0 && number(bar.rows)}
              <div className={cn("mx-auto mt-0.5 w-full max-w-20 rounded-t-[3px]", bar.beyond ? "bg-bad" : "bg-chart-1")} style={{ height: `${bar.height * 84}%` }} />
            </div>
          ))}
          {mark !== null && (
            <div className="absolute inset-y-0 border-l border-dashed border-bad" style={{ left: `${mark * 100}%` }}>
              <span className={cn("absolute top-0 bg-surface px-1 text-2xs whitespace-nowrap text-bad", mark > 0.6 ? "right-1" : "left-1")}>cut at {most}</span>
            </div>
          )}
        </div>
        <div aria-hidden className="mt-1 flex gap-1.5 text-2xs text-muted">{bars.map(({ label }) => <span key={label} className="flex-1 truncate text-center">{label}</span>)}</div>
        <table className="sr-only">
          <caption>Rows by length in tokens</caption>
          <tbody>{bars.map(({ label, rows }) => <tr key={label}><th scope="row">{label}</th><td>{rows}</td></tr>)}</tbody>
        </table>
      </figure>
      <p className="mt-3 text-xs text-pretty text-muted">
        {mark === null ? `No row is longer than ${number(most)} tokens, where it would be cut. ` : ""}
        Half of the rows have {number(tokens.median, 1)} tokens or fewer, 95 of 100 at most {number(tokens.p95)}; the shortest has {number(tokens.min)}, the longest {number(tokens.max)}.
      </p>
      <div className="mt-4">
        <StackedBar label="What becomes of the tokens" total={tokens.total} format={number} parts={[
          { label: "trained on in an epoch", value: tokens.trained, colour: "chart-1" },
          { label: "read only: prompts, held-out rows", value: rest, colour: "muted" },
          { label: "cut off", value: tokens.cut, colour: "chart-3" },
        ]} />
      </div>
    </Card>
  );
}
