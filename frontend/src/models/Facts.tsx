import type { Schemas } from "@/api";
import { cn } from "@/lib/cn";
import { Badge, Card, Skeleton } from "@/ui";
import { FileList } from "./FileList";

const byName = (facts: Readonly<Record<string, string>> = {}) => Object.entries(facts).sort(([a], [b]) => a.localeCompare(b));

function List({ facts, className }: { facts: readonly (readonly [string, string])[]; className?: string }) {
  return (
    <dl className={cn("text-xs", className)}>
      {facts.map(([name, value]) => (
        <div key={name} className="flex min-w-0 justify-between gap-4 border-b border-line py-1.5">
          <dt className="min-w-0 break-words text-muted">{name}</dt>
          <dd className="min-w-0 text-right break-words">{value || "–"}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Every parameter of the job, as it was recorded. */
export function Recipe({ lineage }: { lineage: Schemas["Lineage"] | undefined }) {
  if (lineage && !lineage.training) return null;
  return (
    <Card title="Recipe" hint="Every parameter of the job, defaults included">
      {!lineage ? <Skeleton className="h-72" /> : <List facts={byName(lineage.training?.parameters)} className="grid gap-x-8 sm:grid-cols-2 lg:grid-cols-3" />}
    </Card>
  );
}

/** What it was computed with. */
export function Environment({ lineage }: { lineage: Schemas["Lineage"] | undefined }) {
  return (
    <Card title="Environment" hint="What it was computed with">
      {!lineage ? <Skeleton className="h-40" /> : <List facts={byName((lineage.training ?? lineage.imported)?.environment)} />}
    </Card>
  );
}

/** A version's files, which can be downloaded while it is ready. */
export function Files({ lineage, version }: { lineage: Schemas["Lineage"] | undefined; version: Schemas["ModelVersion"] | undefined }) {
  const attempts = lineage?.training?.attempts ?? [];
  return (
    <div className="grid min-w-0 gap-4">
      <Card title="Files" hint="Each by its sha256" flush>
        {!lineage ? <Skeleton className="mx-5 h-24" /> : (
          <FileList files={lineage.files} className="px-5" below={version?.status === "VERSION_STATUS_READY" && `/models/${version.model_id}/versions/${version.version}/files`} />
        )}
      </Card>
      {attempts.length > 1 && (
        <Card title="Attempts" hint="The last one finished" flush>
          <ul>
            {attempts.map((attempt) => (
              <li key={attempt.number} className="flex min-h-10 items-center gap-3 px-5 text-xs">
                <span className="font-medium">Attempt {attempt.number}</span>
                <span className="flex-1 text-muted">{attempt.resumed_from_step ? `went on from step ${attempt.resumed_from_step}` : "from the beginning"}</span>
                <Badge>{attempt.outcome.replace("ATTEMPT_OUTCOME_", "").toLowerCase()}</Badge>
              </li>
            ))}
          </ul>
        </Card>
      )}
    </div>
  );
}
