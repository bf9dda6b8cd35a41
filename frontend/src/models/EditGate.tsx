"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { asApiError, keys, type Schemas, setGate, useTrend } from "@/api";
import { Button, Dialog, Empty, Field, Input, Select, Skeleton, toast } from "@/ui";
import { nameOf } from "./Quality";
import { Refusal } from "./Refusal";

const DIRECTIONS = [
  { value: "METRIC_DIRECTION_LOWER_IS_BETTER", label: "Lower is better" },
  { value: "METRIC_DIRECTION_HIGHER_IS_BETTER", label: "Higher is better" },
];

/** Sets the gate on a series that was measured: on another it would refuse everything. */
export default function EditGate({ id, gate, onClose }: { id: number; gate?: Schemas["PromotionGate"]; onClose: () => void }) {
  const client = useQueryClient();
  const trend = useTrend(id);
  const all = trend.data?.series ?? [];
  const now = all.findIndex((one) => gate && one.metric === gate.metric && one.split === gate.split && one.dataset_digest === gate.dataset_digest);
  const [picked, setPicked] = useState<string>();
  const [direction, setDirection] = useState<string>(gate?.direction ?? DIRECTIONS[0]!.value);
  const [tolerance, setTolerance] = useState(String(gate?.tolerance ?? 0));
  const [aliases, setAliases] = useState(gate?.aliases.join(" ") ?? "champion");
  const series = all[Number(picked ?? Math.max(now, 0))];
  const save = useMutation({
    mutationFn: () => setGate(id, {
      metric: series!.metric, dataset_id: series!.dataset_id, split: series!.split,
      direction: direction as Schemas["MetricDirection"], tolerance: Number(tolerance), aliases: aliases.split(/[\s,]+/).filter(Boolean),
    }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keys.model(id) });
      toast("The gate is set.");
      onClose();
    },
  });
  const refusal = save.error && asApiError(save.error);
  const send = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  const listed = Object.entries(refusal?.fields ?? {}).find(([field]) => field.startsWith("aliases"))?.[1];
  return (
    <Dialog open onOpenChange={onClose} title="Promotion gate" hint="Promoting compares a version's newest value with that of the version it would replace.">
      {trend.isPending ? <Skeleton className="mt-4 h-64" /> : !series ? (
        <Empty title="Nothing was evaluated yet">A gate compares evaluations: train with held-out rows first.</Empty>
      ) : (
        <form onSubmit={send} className="mt-4 grid gap-2" noValidate>
          <Field label="Compared" name="metric" refusal={refusal}>
            <Select value={String(all.indexOf(series))} onValueChange={setPicked} options={all.map((one, index) => ({ value: String(index), label: nameOf(one) }))} />
          </Field>
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label="Direction" name="direction" refusal={refusal}><Select value={direction} onValueChange={setDirection} options={DIRECTIONS} /></Field>
            <Field label="Tolerance" name="tolerance" refusal={refusal} hint="How much worse it may be"><Input inputMode="decimal" value={tolerance} onChange={(event) => setTolerance(event.target.value)} /></Field>
          </div>
          <Field label="Aliases" error={listed} hint="Those that it guards; none: every alias"><Input value={aliases} spellCheck={false} onChange={(event) => setAliases(event.target.value)} /></Field>
          <Refusal error={refusal} shown={(field) => /^(metric|direction|tolerance|aliases)\b/.test(field)} />
          <div className="mt-2 flex justify-end gap-2">
            <Button onClick={onClose}>Cancel</Button>
            <Button type="submit" variant="primary" busy={save.isPending}>Set the gate</Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
