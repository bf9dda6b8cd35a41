import Link from "next/link";
import type { Schemas } from "@/api";
import { number } from "@/lib/format";
import { Badge, Card, Digest } from "@/ui";

const SAID: Record<string, [string, "ok" | "warn", string]> = {
  REPLAY_OUTCOME_SAME: ["the same", "ok", "Bit for bit the same: no loss differs, and the files have the published version's hash."],
  REPLAY_OUTCOME_DIFFERS: ["differs", "warn", "The loss of a step differs; the replay stopped there."],
  REPLAY_OUTCOME_DIFFERS_AFTER_LAST_LOSS: ["differs", "warn", "No loss differs, but the files do: the difference came after the last loss."],
};

/** What a replay found. */
export function Verdict({ verdict, original }: { verdict: Schemas["ReplayVerdict"]; original: number }) {
  const [word, tone, text] = SAID[verdict.outcome ?? ""] ?? ["unknown", "warn", ""];
  const rows: [string, React.ReactNode][] = [
    ["Compared", `${number(verdict.compared_steps ?? 0)} of ${number(verdict.steps ?? 0)} steps`],
    ...(verdict.step ? [["First difference", `step ${verdict.step}: ${verdict.original_loss ?? "no loss"} then, ${verdict.replayed_loss ?? "no loss"} now`] as [string, React.ReactNode]] : []),
    ["Published files", <Digest key="then" value={verdict.original_digest ?? ""} length={16} />],
    ["Replayed files", verdict.replayed_digest ? <Digest key="now" value={verdict.replayed_digest} length={16} /> : "none: it stopped before"],
    ...(verdict.differing_files?.length ? [["Files that differ", verdict.differing_files.join(", ")] as [string, React.ReactNode]] : []),
  ];
  return (
    <Card className="lg:col-span-6" title={<span className="inline-flex items-center gap-2">Verdict <Badge dot tone={tone}>{word}</Badge></span>} hint={<>{text} Compared with <Link prefetch={false} className="underline underline-offset-2" href={`/training/?id=${original}`}>job {original}</Link>.</>}>
      <dl className="grid gap-x-6 gap-y-2 sm:grid-cols-2">
        {rows.map(([label, value]) => <div key={label} className="flex min-h-6 flex-wrap items-center gap-x-3"><dt className="w-32 shrink-0 text-xs text-muted">{label}</dt><dd className="min-w-0 break-words">{value}</dd></div>)}
      </dl>
      {!!verdict.differences?.length && (
        <div className="mt-4 overflow-x-auto" tabIndex={0} role="region" aria-label="Differences of recipe and environment">
          <table className="w-full min-w-96 text-xs [&_td]:border-t [&_td]:border-line [&_td]:py-1.5 [&_td]:pr-4 [&_td]:break-all [&_th]:pb-1.5 [&_th]:text-left [&_th]:font-normal [&_th]:text-muted">
            <thead><tr><th>Not as it was</th><th>Then</th><th>Now</th></tr></thead>
            <tbody>{verdict.differences.map(({ name, then, now }) => <tr key={name}><td className="font-mono">{name}</td><td>{then || "not recorded"}</td><td>{now || "not recorded"}</td></tr>)}</tbody>
          </table>
        </div>
      )}
    </Card>
  );
}
