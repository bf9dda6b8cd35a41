import { MessageSquareQuote } from "lucide-react";
import { type Schemas, useSamples } from "@/api";
import { cn } from "@/lib/cn";
import { Card, Empty, ErrorState, Skeleton } from "@/ui";

/** What base model and version answered to the same held-out prompts when the version was trained. */
export function Samples({ id, version }: { id: number; version: number }) {
  const samples = useSamples(id, version);
  return (
    <Card title="Answers" hint="Base model and this version on the same held-out prompts" flush>
      {samples.error && !samples.data ? <ErrorState error={samples.error} retry={() => void samples.refetch()} />
        : !samples.data ? <div className="px-5 pb-4"><Skeleton className="h-32" /></div>
        : !samples.data.length ? <Empty icon={MessageSquareQuote} title="None were kept">A job that holds rows out keeps a few answers.</Empty>
        : (
          <ul className="divide-y divide-line">
            {samples.data.map((sample, index) => (
              <li key={index} className="grid gap-3 px-5 py-4">
                <div className="grid gap-1">{sample.turns.map((turn, i) => <p key={i} className="break-words whitespace-pre-wrap"><span className="mr-2 text-2xs text-muted">{turn.role || "text"}</span>{turn.content}</p>)}</div>
                <div className="grid gap-3 md:grid-cols-2">
                  <Answer who="Base model" answer={sample.base} />
                  <Answer who={`Version ${version}`} answer={sample.version} own />
                </div>
              </li>
            ))}
          </ul>
        )}
    </Card>
  );
}

function Answer({ who, answer, own }: { who: string; answer: Schemas["SampleAnswer"] | undefined; own?: boolean }) {
  return (
    <div className={cn("min-w-0 rounded-lg border px-3 py-2", own ? "border-accent/50 bg-accent-soft/50" : "border-line bg-raised/60")}>
      <p className={cn("text-2xs font-medium", own ? "text-accent" : "text-muted")}>{who}</p>
      <p className="mt-1 max-h-40 overflow-y-auto break-words whitespace-pre-wrap" tabIndex={0}>{answer?.text || <span className="text-muted">(nothing)</span>}{answer?.cut && <span className="text-muted" title="It went on"> …</span>}</p>
    </div>
  );
}
