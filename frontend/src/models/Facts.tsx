import type { Schemas } from "@/api";
import { bytes } from "@/lib/format";
import { Badge, Card, Digest, Skeleton } from "@/ui";

/** The recipe and the environment it ran in. */
export function Parameters({ lineage }: { lineage: Schemas["Lineage"] | undefined }) {
  const training = lineage?.training;
  const facts = training ?? lineage?.imported;
  return (
    <Card title={training ? "Recipe and environment" : "Environment"} hint="As they were recorded">
      {!lineage ? <Skeleton className="h-64" /> : (
        <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-6 text-xs">
          {[...Object.entries(training?.parameters ?? {}), ...Object.entries(facts?.environment ?? {})].map(([name, value]) => (
            <div key={name} className="contents">
              <dt className="border-b border-line py-1.5 text-muted">{name}</dt>
              <dd className="border-b border-line py-1.5 text-right break-words">{value || "–"}</dd>
            </div>
          ))}
        </dl>
      )}
    </Card>
  );
}

export function Files({ lineage }: { lineage: Schemas["Lineage"] | undefined }) {
  const attempts = lineage?.training?.attempts ?? [];
  return (
    <div className="grid min-w-0 gap-4">
      <Card title="Files" hint="Each by its sha256" flush>
        {!lineage ? <Skeleton className="mx-5 h-24" /> : (
          <ul>
            {lineage.files.map((file) => (
              <li key={file.name} className="flex min-h-10 items-center gap-3 px-5 text-xs">
                <span className="min-w-0 flex-1 truncate" title={file.name}>{file.name}</span>
                <span className="text-muted">{bytes(file.size_bytes)}</span>
                <Digest value={file.sha256} length={8} />
              </li>
            ))}
          </ul>
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
