"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { type FormEvent, useId, useState } from "react";
import { asApiError, createModel, keys, useBaseModels } from "@/api";
import { NAME_RULE, nameWrong } from "@/lib/names";
import { Button, Dialog, Field, Input, Textarea, toast } from "@/ui";
import { Refusal } from "./Refusal";
import { type Pair, TagsEditor, toTags } from "./Tags";

/** Asks for a new model over an imported base model. */
export default function CreateModel({ onOpenChange }: { onOpenChange: (open: boolean) => void }) {
  const client = useQueryClient();
  const router = useRouter();
  const list = useId();
  const [name, setName] = useState("");
  const bases = useBaseModels().data ?? [];
  const [typed, setBase] = useState<string>();
  const base = typed ?? bases[0]?.name ?? "";
  const [description, setDescription] = useState("");
  const [pairs, setPairs] = useState<Pair[]>([]);
  const create = useMutation({
    mutationFn: () => createModel({ name, base_model: base, description, tags: toTags(pairs) }),
    onSuccess: async (model) => {
      await client.invalidateQueries({ queryKey: keys.models });
      toast(`Model ${model.name} is there.`);
      router.push(`/models/?id=${model.id}`);
    },
  });
  const refusal = create.error && asApiError(create.error);
  const send = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  const of = { NAME_TAKEN: "name", BASE_MODEL_NOT_FOUND: "base_model" }[refusal?.reason ?? ""];
  const at = (field: string) => (of === field ? refusal?.message : refusal?.fields[field]);
  return (
    <Dialog open onOpenChange={onOpenChange} title="New model" hint="A name over a base model. Its versions come from training jobs.">
      <form onSubmit={send} className="mt-4 grid gap-2" noValidate>
        <Field label="Name" error={nameWrong(at("name"))} hint={NAME_RULE}>
          <Input autoFocus autoComplete="off" spellCheck={false} value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        <Field label="Base model" error={nameWrong(at("base_model"))} hint={<>An imported one; <code className="font-mono">mlx-hub models import</code> brings more</>}>
          <Input autoComplete="off" spellCheck={false} list={list} value={base} onChange={(event) => setBase(event.target.value)} />
        </Field>
        <datalist id={list}>{bases.map((known) => <option key={known.id} value={known.name} />)}</datalist>
        <Field label="Description" error={at("description")} hint="What it is for">
          <Textarea rows={3} value={description} onChange={(event) => setDescription(event.target.value)} />
        </Field>
        <TagsEditor pairs={pairs} onChange={setPairs} refusal={refusal} />
        <Refusal error={refusal} shown={(field) => of === field || /^(name|base_model|description|tags)\b/.test(field)} known={!!of} />
        <div className="mt-2 flex justify-end gap-2">
          <Button onClick={() => onOpenChange(false)}>Cancel</Button>
          <Button type="submit" variant="primary" busy={create.isPending}>Create</Button>
        </div>
      </form>
    </Dialog>
  );
}
