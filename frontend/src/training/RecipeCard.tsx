import type { Schemas } from "@/api";
import { JOB_BOUNDS } from "@/api/training";
import { short } from "@/lib/format";
import { Card } from "@/ui";
import { GROUPS, LABELS, spoken } from "./recipe";

/** Every parameter that the job was queued with, defaults included. */
export function RecipeCard({ job }: { job: Schemas["TrainingJob"] }) {
  const values = job as Record<string, unknown>;
  return (
    <Card title="Recipe" hint="As it was queued, defaults included">
      <div className="grid gap-x-8 gap-y-6 sm:grid-cols-2 lg:grid-cols-5">
        {GROUPS.map(({ title, fields }) => (
          <section key={title} aria-label={title}>
            <h3 className="mb-1 text-xs font-semibold">{title}</h3>
            <dl>
              {fields.filter((name) => values[name] !== undefined).map((name) => (
                <div key={name} className="flex min-h-7 items-baseline justify-between gap-3 border-b border-line py-1 text-xs last:border-0">
                  <dt className="text-muted">{LABELS[name]}</dt><dd className="min-w-0 text-right font-medium break-words">{show(name, values[name])}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Card>
  );
}

function show(name: string, value: unknown): string {
  if (Array.isArray(value)) return value.length ? value.join(", ") : name === "target_keys" ? "all" : "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return JOB_BOUNDS[name]?.type === "number" ? short(Number(value.toPrecision(6))) : String(value);
  return spoken(String(value));
}
