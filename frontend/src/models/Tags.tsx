import { Plus, X } from "lucide-react";
import type { ApiError } from "@/api";
import { cn } from "@/lib/cn";
import { Button, Input } from "@/ui";

interface TagsProps { tags: Readonly<Record<string, string>>; onPick?: (tag: string) => void; most?: number }

/** Labels as small texts; a click on one filters by it. */
export function Tags({ tags, onPick, most = 50 }: TagsProps) {
  const all = Object.entries(tags).sort(([a], [b]) => a.localeCompare(b));
  const look = "inline-block max-w-40 truncate rounded-md bg-raised px-1.5 py-0.5 text-2xs text-muted";
  return (
    <span className={cn("flex gap-1", most >= 50 && "flex-wrap")}>
      {all.slice(0, most).map(([key, value]) => {
        const text = value ? `${key}=${value}` : key;
        const inside = <><span className="text-ink">{key}</span>{value && ` ${value}`}</>;
        return onPick
          ? <button key={key} type="button" title={`Show only ${text}`} onClick={() => onPick(text)} className={cn(look, "hover:text-ink")}>{inside}</button>
          : <span key={key} title={text} className={look}>{inside}</span>;
      })}
      {all.length > most && <span className="py-0.5 text-2xs text-muted">+{all.length - most}</span>}
    </span>
  );
}

export type Pair = readonly [key: string, value: string];

/** Rows without a key are not yet tags. */
export const toTags = (pairs: readonly Pair[]) => Object.fromEntries(pairs.filter(([key]) => key.trim()).map(([key, value]) => [key.trim(), value]));

/** The caller's labels, a row each. The hub's violations name them as `tags["key"]`. */
export function TagsEditor({ pairs, onChange, refusal }: { pairs: readonly Pair[]; onChange: (pairs: Pair[]) => void; refusal: ApiError | null }) {
  const change = (index: number, pair: Pair) => onChange(pairs.map((old, i) => (i === index ? pair : old)));
  const wrong = Object.entries(refusal?.fields ?? {}).filter(([field]) => /^tags\b/.test(field));
  return (
    <fieldset className="min-w-0">
      <legend className="mb-1.5 text-xs font-medium">Tags</legend>
      <div className="grid gap-2">
        {pairs.map(([key, value], index) => (
          <div key={index} className="flex items-center gap-2">
            <Input aria-label={`Key of tag ${index + 1}`} placeholder="key" value={key} maxLength={63} aria-invalid={wrong.some(([field]) => field.includes(`"${key}"`)) || undefined} onChange={(event) => change(index, [event.target.value, value])} />
            <Input aria-label={`Value of tag ${index + 1}`} placeholder="value" value={value} onChange={(event) => change(index, [key, event.target.value])} />
            <Button size="icon" variant="ghost" aria-label={`Remove tag ${index + 1}`} onClick={() => onChange(pairs.filter((_, i) => i !== index))}><X aria-hidden /></Button>
          </div>
        ))}
        <div><Button size="sm" variant="ghost" onClick={() => onChange([...pairs, ["", ""]])}><Plus aria-hidden />Add a tag</Button></div>
      </div>
      {wrong.map(([field, text]) => <p key={field} role="alert" className="mt-1 text-xs text-bad"><code className="font-mono">{field}</code> {text}</p>)}
    </fieldset>
  );
}
