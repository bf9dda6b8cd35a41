import type { ApiError } from "@/api";

interface RefusalProps {
  error: ApiError | null;
  /** Whether the form shows a field's violation at the field itself. */
  shown?: (field: string) => boolean;
  /** The refusal as a whole is shown at a field. */
  known?: boolean;
}

/** What of a refusal no field of the form shows. */
export function Refusal({ error, shown = () => false, known }: RefusalProps) {
  const rest = Object.entries(error?.fields ?? {}).filter(([field]) => !shown(field));
  if (!error || known || (Object.keys(error.fields).length && !rest.length)) return null;
  return (
    <div role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-sm break-words text-bad">
      {error.message}
      {rest.map(([field, text]) => <p key={field} className="mt-1 text-xs"><code className="font-mono">{field}</code> {text}</p>)}
    </div>
  );
}
