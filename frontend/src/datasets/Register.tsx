"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { asApiError, keys, registerDataset } from "@/api";
import { NAME_RULE, nameWrong } from "@/lib/names";
import { Button, Dialog, Field, Input, toast } from "@/ui";
import { nameOf } from "./shape";

/** Registers a file that lies under the hub's dataset root. */
export default function Register({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const router = useRouter();
  const [path, setPath] = useState("");
  const [typed, setTyped] = useState<string>();
  const name = typed ?? nameOf(path.split("/").at(-1) ?? "");
  const register = useMutation({
    mutationFn: () => registerDataset(name, path),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: keys.datasets });
      toast(`Dataset ${made.name} is there, with ${made.rows} rows.`);
      router.push(`/datasets/?id=${made.id}`);
    },
  });
  const refusal = register.error && asApiError(register.error);
  const of = { NAME_TAKEN: "name", DATASET_FILE_UNREADABLE: "path" }[refusal?.reason ?? ""];
  const at = (field: string) => (of === field ? refusal?.message : refusal?.fields[field]);
  const rows = Object.entries(refusal?.fields ?? {}).filter(([field]) => field !== "name" && field !== "path");
  const shown = of || refusal?.fields.name || refusal?.fields.path;
  const send = (event: FormEvent) => {
    event.preventDefault();
    register.mutate();
  };
  return (
    <Dialog open onOpenChange={onClose} title="Register a file" hint="One that lies on the hub's machine already.">
      <form onSubmit={send} className="mt-4 grid gap-2" noValidate>
        <Field label="Path" error={at("path")} hint="A .jsonl file, relative to the dataset root"><Input autoFocus autoComplete="off" spellCheck={false} placeholder="tickets/2026.jsonl" value={path} onChange={(event) => setPath(event.target.value)} /></Field>
        <Field label="Name" error={nameWrong(at("name"))} hint={NAME_RULE}><Input autoComplete="off" spellCheck={false} value={name} onChange={(event) => setTyped(event.target.value)} /></Field>
        {refusal && (!shown || rows.length > 0) && (
          <div role="alert" className="max-h-48 overflow-y-auto rounded-md bg-bad-soft px-3 py-2 break-words text-bad" tabIndex={0}>
            {refusal.message}
            <ul className="mt-1 text-xs">{rows.map(([field, text]) => <li key={field}><span className="font-medium">{field}</span> {text}</li>)}</ul>
          </div>
        )}
        <div className="mt-2 flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={register.isPending}>Register</Button>
        </div>
      </form>
    </Dialog>
  );
}
