import {
  Archive, ArchiveRestore, Boxes, CircleDot, Download, Gauge, GraduationCap, type LucideIcon, Pencil, Rocket, ShieldCheck, TriangleAlert, Undo2, X,
} from "lucide-react";
import Link from "next/link";
import { flat, type Schemas, useHistory } from "@/api";
import { word } from "@/lib/format";
import { Button, Card, ErrorState, Skeleton, Time } from "@/ui";
import { tell } from "./tell";

const ICONS: Record<string, LucideIcon> = {
  created: Boxes, trained: GraduationCap, quarantined: TriangleAlert, updated: Pencil, promoted: Rocket, "rolled back": Undo2, "alias deleted": X,
  archived: Archive, restored: ArchiveRestore, evaluated: Gauge, "gate set": ShieldCheck, "gate deleted": ShieldCheck, imported: Download,
};

/** Everything that happened to a model, newest first, page by page. */
export function History({ id }: { id: number }) {
  const history = useHistory(id);
  const events = flat(history, "events");
  return (
    <Card title="History" flush>
      {history.error && !history.data ? <ErrorState error={history.error} retry={() => void history.refetch()} />
        : history.isPending ? <div className="px-5">{Array.from({ length: 4 }, (_, i) => <Skeleton key={i} className="my-3 h-6" />)}</div>
        : (
          <ol className="px-5 pt-2 pb-2">
            {events.map((event) => <Item key={event.id} id={id} event={event} />)}
          </ol>
        )}
      {history.hasNextPage && (
        <div className="px-5 pb-3"><Button size="sm" busy={history.isFetchingNextPage} onClick={() => void history.fetchNextPage()}>Show older</Button></div>
      )}
    </Card>
  );
}

function Item({ id, event }: { id: number; event: Schemas["ModelEvent"] }) {
  const Icon = ICONS[word(event.type, "MODEL_EVENT_TYPE")] ?? CircleDot;
  const { text, more } = tell(event);
  return (
    <li className="group relative flex gap-3 pb-4 last:pb-1">
      <span aria-hidden className="absolute top-6 bottom-0 left-3 w-px bg-line group-last:hidden" />
      <span className="grid size-6 shrink-0 place-items-center rounded-full border border-line bg-raised text-muted"><Icon aria-hidden className="size-3.5" strokeWidth={1.75} /></span>
      <div className="min-w-0 flex-1 pt-0.5">
        <p className="break-words">{event.version ? <Link href={`/models/?id=${id}&version=${event.version}`} prefetch={false} className="font-medium hover:underline">v{event.version}</Link> : null} {text}</p>
        {more && <p className="mt-0.5 text-xs break-words text-muted">{more}</p>}
      </div>
      <span className="shrink-0 pt-0.5 text-xs text-muted"><Time value={event.created_at} /></span>
    </li>
  );
}
