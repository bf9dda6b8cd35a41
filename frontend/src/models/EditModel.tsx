"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { asApiError, keys, type Schemas, updateModel } from "@/api";
import { Button, Dialog, Field, Textarea, toast } from "@/ui";
import { Refusal } from "./Refusal";
import { type Pair, TagsEditor, toTags } from "./Tags";

export default function EditModel({ model, onClose }: { model: Schemas["Model"]; onClose: () => void }) {
  const client = useQueryClient();
  const [description, setDescription] = useState(model.description);
  const [pairs, setPairs] = useState<Pair[]>(Object.entries(model.tags));
  const save = useMutation({
    mutationFn: () => updateModel(model.id, description, toTags(pairs)),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keys.models });
      toast("Saved.");
      onClose();
    },
  });
  const refusal = save.error && asApiError(save.error);
  const send = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Dialog open onOpenChange={onClose} title={`Edit ${model.name}`} hint="Name and base model never change.">
      <form onSubmit={send} className="mt-4 grid gap-2" noValidate>
        <Field label="Description" name="description" refusal={refusal} hint="What it is for"><Textarea autoFocus value={description} onChange={(event) => setDescription(event.target.value)} /></Field>
        <TagsEditor pairs={pairs} onChange={setPairs} refusal={refusal} />
        <Refusal error={refusal} shown={(field) => /^(description|tags)\b/.test(field)} />
        <div className="mt-2 flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={save.isPending}>Save</Button>
        </div>
      </form>
    </Dialog>
  );
}
