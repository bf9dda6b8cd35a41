import { useQueryClient } from "@tanstack/react-query";
import { Tag, Undo2, X } from "lucide-react";
import Link from "next/link";
import { useState } from "react";
import { keys, removeAlias, rollback, type Schemas } from "@/api";
import { Button, Card, Confirm, Empty, Skeleton, toast, Tooltip } from "@/ui";

interface Wish { act: "rollback" | "remove"; alias: string }

/** The names that point at versions; each can go back, or be removed. */
export function Aliases({ id, versions }: { id: number; versions: readonly Schemas["ModelVersion"][] | undefined }) {
  const client = useQueryClient();
  const [wish, setWish] = useState<Wish | null>(null);
  const all = (versions ?? []).flatMap(({ version, aliases }) => aliases.map((alias) => ({ alias, version })));
  all.sort((a, b) => a.alias.localeCompare(b.alias));
  const run = async ({ act, alias }: Wish) => {
    if (act === "rollback") {
      const now = await rollback(id, alias);
      toast(`${alias} points at version ${now.version} again.`);
    } else {
      await removeAlias(id, alias);
      toast(`The alias ${alias} is removed.`);
    }
    await client.invalidateQueries({ queryKey: keys.models });
  };
  return (
    <Card title="Aliases" hint="Names that requests may ask for" flush>
      {!versions ? <Skeleton className="mx-5 my-3 h-8" /> : !all.length ? <Empty icon={Tag} title="No alias yet">Promote a version to make one.</Empty> : (
        <ul>
          {all.map(({ alias, version }) => (
            <li key={alias} className="flex min-h-11 items-center gap-2 px-5 py-1">
              <span className="min-w-0 flex-1 truncate font-medium">{alias}</span>
              <Link href={`/models/?id=${id}&version=${version}`} prefetch={false} className="text-muted hover:text-ink hover:underline">v{version}</Link>
              {alias === "latest" ? <span className="w-18 text-right text-2xs text-muted" title="It follows each new version by itself">the newest</span> : (
                <>
                  <Tooltip text="Roll back to what it pointed at before"><Button size="icon" variant="ghost" aria-label={`Roll ${alias} back`} onClick={() => setWish({ act: "rollback", alias })}><Undo2 aria-hidden /></Button></Tooltip>
                  <Tooltip text="Remove this alias"><Button size="icon" variant="ghost" aria-label={`Remove ${alias}`} onClick={() => setWish({ act: "remove", alias })}><X aria-hidden /></Button></Tooltip>
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {wish && (
        <Confirm
          open
          onOpenChange={() => setWish(null)}
          title={wish.act === "rollback" ? `Roll ${wish.alias} back?` : `Remove the alias ${wish.alias}?`}
          action={wish.act === "rollback" ? "Roll back" : "Remove"}
          danger={wish.act === "remove"}
          onConfirm={() => run(wish)}
        >
          {wish.act === "rollback"
            ? "It will point at the version before its last promotion. No gate stands in its way; requests that ask for it get that version from then on."
            : "Requests that ask for it will be refused. The version itself stays."}
        </Confirm>
      )}
    </Card>
  );
}
