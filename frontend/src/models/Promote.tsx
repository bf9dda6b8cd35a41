"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { ShieldCheck, ShieldX } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { type ApiError, asApiError, keys, modelHistory, promote, useGate, useVersions } from "@/api";
import { short } from "@/lib/format";
import { Button, Dialog, Field, Input, Skeleton, toast } from "@/ui";
import { ruleOf } from "./Gate";
import { Refusal } from "./Refusal";
import { verdict } from "./tell";

/** Points an alias at a version; shows what the gate said when it refuses. */
export default function Promote({ id, version, onClose }: { id: number; version: number; onClose: () => void }) {
  const client = useQueryClient();
  const list = useId();
  const gate = useGate(id);
  const versions = useVersions(id);
  const [alias, setAlias] = useState("champion");
  const known = [...new Set((versions.data ?? []).flatMap((one) => one.aliases))].filter((name) => name !== "latest");
  const holder = versions.data?.find((one) => one.aliases.includes(alias));
  const act = useMutation({
    mutationFn: () => promote(id, version, alias),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keys.models });
      const [newest] = await client.fetchQuery(modelHistory(id, 1));
      const said = newest?.version === version ? verdict(newest.details ?? {}) : undefined;
      toast(`${alias} points at version ${version}${said ? `, ${said}` : ""}.`);
      onClose();
    },
  });
  const refusal = act.error && asApiError(act.error);
  const send = (event: FormEvent) => {
    event.preventDefault();
    act.mutate();
  };
  return (
    <Dialog open onOpenChange={onClose} title={`Promote version ${version}`} hint="Requests that ask for the alias get this version from then on.">
      <form onSubmit={send} className="mt-4 grid gap-3" noValidate>
        <Field label="Alias" name="alias" refusal={refusal} hint={holder ? (holder.version === version ? "It points here already" : `It points at version ${holder.version} now`) : "A new one"}>
          <Input autoFocus autoComplete="off" spellCheck={false} list={list} value={alias} onChange={(event) => { setAlias(event.target.value); act.reset(); }} />
        </Field>
        <datalist id={list}>{known.map((name) => <option key={name} value={name} />)}</datalist>
        {gate.isPending ? <Skeleton className="h-12" /> : gate.data && !refusal && (
          <p className="flex gap-3 rounded-md bg-raised px-3 py-2 text-xs text-pretty text-muted"><ShieldCheck aria-hidden className="size-4 shrink-0" />{ruleOf(gate.data)}</p>
        )}
        {refusal?.reason === "PROMOTION_REFUSED" ? <Refused refusal={refusal} /> : <Refusal error={refusal} shown={(field) => field === "alias"} />}
        <div className="mt-2 flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={act.isPending}>Promote</Button>
        </div>
      </form>
    </Dialog>
  );
}

/** The gate's reasons: the two values, what it lets through, and by how much it was missed. */
function Refused({ refusal }: { refusal: ApiError }) {
  const { metric, value, reference, reference_value, tolerance, worse_by } = refusal.metadata;
  const rows = [
    [`${metric} of this version`, value],
    [reference === "base" ? "of the base model" : `of version ${reference}`, reference_value],
    ["worse by", worse_by],
    ["let through", tolerance],
  ].filter(([, found]) => found !== undefined);
  return (
    <div role="alert" className="rounded-lg border border-bad/40 bg-bad-soft px-3 py-3">
      <p className="flex items-center gap-2 font-medium text-bad"><ShieldX aria-hidden className="size-4" />The gate refuses</p>
      <p className="mt-1 text-xs text-pretty break-words text-bad">{refusal.message}</p>
      {rows.length > 1 && (
        <dl className="mt-3 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-xs text-ink">
          {rows.map(([label, found]) => <div key={label} className="contents"><dt>{label}</dt><dd className="text-right font-medium" title={found}>{short(Number(found))}</dd></div>)}
        </dl>
      )}
    </div>
  );
}
