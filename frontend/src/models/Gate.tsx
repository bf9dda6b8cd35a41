import { useQueryClient } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import dynamic from "next/dynamic";
import { useState } from "react";
import { deleteGate, keys, type Schemas, useGate } from "@/api";
import { short, word } from "@/lib/format";
import { Button, Card, Confirm, ErrorState, Skeleton, toast } from "@/ui";

const EditGate = dynamic(() => import("./EditGate"), { ssr: false });

/** What a gate asks, as a sentence. */
export function ruleOf(gate: Schemas["PromotionGate"]): string {
  const better = gate.direction === "METRIC_DIRECTION_LOWER_IS_BETTER" ? "higher" : "lower";
  const which = gate.aliases.length ? gate.aliases.join(", ") : "any alias";
  return `A version may take ${which} if its ${gate.metric} on dataset ${gate.dataset_id} (${word(gate.split, "EVALUATION_SPLIT")}) is ${
    gate.tolerance ? `at most ${short(gate.tolerance)} ${better} than` : `no ${better} than`
  } that of the version it replaces.`;
}

export function Gate({ id }: { id: number }) {
  const client = useQueryClient();
  const gate = useGate(id);
  const [open, setOpen] = useState<"edit" | "delete" | null>(null);
  const remove = async () => {
    await deleteGate(id);
    await client.invalidateQueries({ queryKey: keys.model(id) });
    toast("The gate is removed.");
  };
  const close = () => setOpen(null);
  return (
    <Card title="Promotion gate" hint="Lets no worse version take an alias">
      {gate.error && gate.data === undefined ? <ErrorState error={gate.error} retry={() => void gate.refetch()} className="py-2" />
        : gate.data === undefined ? <Skeleton className="h-16" />
        : (
          <>
            <p className="flex gap-3 text-pretty">
              {gate.data && <ShieldCheck aria-hidden className="mt-0.5 size-4 shrink-0 text-ok" />}
              <span className="min-w-0 break-words">{gate.data ? ruleOf(gate.data) : <span className="text-muted">There is none: any ready version can be promoted.</span>}</span>
            </p>
            <div className="mt-3 flex gap-2">
              <Button size="sm" onClick={() => setOpen("edit")}>{gate.data ? "Change" : "Set a gate"}</Button>
              {gate.data && <Button size="sm" variant="ghost" onClick={() => setOpen("delete")}>Remove</Button>}
            </div>
          </>
        )}
      {open === "edit" && <EditGate id={id} gate={gate.data ?? undefined} onClose={close} />}
      <Confirm open={open === "delete"} onOpenChange={close} title="Remove the gate?" action="Remove" danger onConfirm={remove}>
        Any ready version can be promoted from then on.
      </Confirm>
    </Card>
  );
}
