"use client";

import { useQueryClient } from "@tanstack/react-query";
import { FileJson } from "lucide-react";
import { useRouter } from "next/navigation";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { type ApiError, asApiError, keys, uploadDataset } from "@/api";
import { bytes, percent } from "@/lib/format";
import { NAME_RULE, nameWrong } from "@/lib/names";
import { Button, Dialog, Field, Input, Progress, toast } from "@/ui";
import { nameOf } from "./shape";

/** Names a file and sends it; shows how far it is, and each row that the hub refuses. */
export default function Upload({ file, onClose }: { file: File; onClose: () => void }) {
  const client = useQueryClient();
  const router = useRouter();
  const [name, setName] = useState(nameOf(file.name));
  const [sent, setSent] = useState<number | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  const busy = sent !== null;

  const send = async (event: FormEvent) => {
    event.preventDefault();
    const control = new AbortController();
    running.current = control;
    setError(null);
    setSent(0);
    try {
      const made = await uploadDataset({ name, file, signal: control.signal, onProgress: (done, total) => setSent(done / Math.max(total, 1)) });
      await client.invalidateQueries({ queryKey: keys.datasets });
      toast(`Dataset ${made.name} is there, with ${made.rows} rows.`);
      router.push(`/datasets/?id=${made.id}`);
    } catch (thrown) {
      if (!control.signal.aborted) setError(asApiError(thrown));
    } finally {
      setSent(null);
    }
  };
  const close = () => {
    running.current?.abort();
    onClose();
  };
  const wrongName = error?.reason === "NAME_TAKEN" ? error.message : error?.fields.name;
  const rows = Object.entries(error?.fields ?? {}).filter(([field]) => field !== "name");
  return (
    <Dialog open onOpenChange={close} title="Upload a dataset">
      <form onSubmit={(event) => void send(event)} className="mt-4 grid gap-3" noValidate>
        <p className="flex items-center gap-3 rounded-lg bg-raised px-3 py-2">
          <FileJson aria-hidden className="size-5 shrink-0 text-muted" strokeWidth={1.5} />
          <span className="min-w-0 flex-1 truncate" title={file.name}>{file.name}</span>
          <span className="shrink-0 text-xs text-muted">{bytes(file.size)}</span>
        </p>
        <Field label="Name" error={nameWrong(wrongName)} hint={NAME_RULE}>
          <Input autoFocus autoComplete="off" spellCheck={false} disabled={busy} value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        <div className="min-h-10">
          {busy && (
            <>
              <Progress label="Upload" value={sent} />
              <p role="status" className="mt-2 text-xs text-muted">{sent < 1 ? `${percent(sent)} of ${bytes(file.size)} sent` : "All of it is sent. The hub checks each row…"}</p>
            </>
          )}
          {error && !wrongName && (
            <div role="alert" className="max-h-48 overflow-y-auto rounded-md bg-bad-soft px-3 py-2 break-words text-bad" tabIndex={0}>
              {error.message}
              <ul className="mt-1 text-xs">{rows.map(([field, text]) => <li key={field} className="mt-0.5"><span className="font-medium">{field}</span> {text}</li>)}</ul>
            </div>
          )}
        </div>
        <div className="flex justify-end gap-2">
          {busy ? <Button onClick={() => running.current?.abort()}>Stop</Button> : <Button onClick={close}>Cancel</Button>}
          <Button type="submit" variant="primary" busy={busy}>Upload</Button>
        </div>
      </form>
    </Dialog>
  );
}
