"use client";

import { useMutation } from "@tanstack/react-query";
import { Check, LoaderCircle } from "lucide-react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { ApiError, asApiError, exportVersion, type VersionExport, type Wanted } from "@/api";
import { percent } from "@/lib/format";
import { Button, Dialog, Field, Select, Time } from "@/ui";
import { FileList } from "./FileList";
import { Refusal } from "./Refusal";

const CHOICES: Readonly<Record<string, { label: string; wanted: Wanted }>> = {
  fused: { label: "Whole model for MLX-LM", wanted: { format: "EXPORT_FORMAT_FUSED" } },
  "fused-8": { label: "Whole model, packed into 8 bits", wanted: { format: "EXPORT_FORMAT_FUSED", quantize_bits: 8 } },
  "fused-4": { label: "Whole model, packed into 4 bits", wanted: { format: "EXPORT_FORMAT_FUSED", quantize_bits: 4 } },
  peft: { label: "Adapter for Hugging Face's PEFT", wanted: { format: "EXPORT_FORMAT_PEFT" } },
};
const OPTIONS = Object.entries(CHOICES).map(([value, { label }]) => ({ value, label }));

/** Lets the hub make a folder of a version that needs no hub, and gives its files. Closing it ends the work. */
export default function Export({ id, version, onClose }: { id: number; version: number; onClose: () => void }) {
  const [choice, setChoice] = useState("fused");
  const [steps, setSteps] = useState<readonly string[]>([]);
  const leave = useRef<AbortController>(undefined);
  useEffect(() => () => leave.current?.abort(), []);
  const act = useMutation({
    mutationFn: async () => {
      setSteps([]);
      leave.current = new AbortController();
      for await (const told of exportVersion(id, version, CHOICES[choice]!.wanted, leave.current.signal)) {
        if (typeof told !== "string") return told;
        setSteps((before) => [...before, told]);
      }
      throw new ApiError("The hub told no end.", 0);
    },
  });
  const refusal = act.error && !leave.current?.signal.aborted ? asApiError(act.error) : null;
  // The one choice stands for the format, the bits and what may be lost.
  const atChoice = refusal?.metadata.field ? refusal.message : undefined;
  const send = (event: FormEvent) => {
    event.preventDefault();
    act.mutate();
  };
  return (
    <Dialog open onOpenChange={onClose} title={`Export version ${version}`} hint="As a folder that needs no hub. A whole model is loaded and compared with base model and adapter before it is given out." className="max-w-xl">
      <form onSubmit={send} className="mt-4 grid gap-3" noValidate>
        <Field label="Form" error={atChoice}>
          <Select value={choice} onValueChange={(value) => { setChoice(value); act.reset(); setSteps([]); }} options={OPTIONS} disabled={act.isPending} />
        </Field>
        {(act.isPending || act.isSuccess) && <Steps steps={steps} going={act.isPending} />}
        <Refusal error={refusal} known={!!atChoice} />
        {act.data ? <Made found={act.data} /> : (
          <div className="flex justify-end gap-2">
            {act.isPending ? <Button onClick={() => leave.current?.abort()}>Stop</Button> : <Button onClick={onClose}>Cancel</Button>}
            <Button type="submit" variant="primary" busy={act.isPending}>Export</Button>
          </div>
        )}
      </form>
    </Dialog>
  );
}

function Steps({ steps, going }: { steps: readonly string[]; going: boolean }) {
  const shown = steps.length || !going ? steps : ["asking the hub"];
  return (
    <ol aria-label="Steps" aria-live="polite" className="grid gap-1 text-xs">
      {shown.map((step, at) => (
        <li key={at} className="flex gap-2">
          {going && at === shown.length - 1
            ? <LoaderCircle aria-label="goes on" className="mt-0.5 size-3.5 shrink-0 animate-spin text-accent" />
            : <Check aria-label="done" className="mt-0.5 size-3.5 shrink-0 text-ok" />}
          <span className="min-w-0 break-words text-muted first-letter:uppercase">{step}</span>
        </li>
      ))}
    </ol>
  );
}

function Made({ found }: { found: VersionExport }) {
  const { parity } = found;
  return (
    <div className="min-w-0">
      <p role="status" className="rounded-md bg-ok-soft px-3 py-2 text-ok">
        {parity ? `${percent(Math.max(0, 1 - parity.effect_lost), 1)} of the adapter's effect survives, at ${parity.positions} tokens of ${parity.samples} ${parity.compared_on}.` : "The adapter is in PEFT's form."}
      </p>
      <div className="mt-2 divide-y divide-line"><FileList files={found.files} below={`/models/${found.model_id}/versions/${found.version}/exports/${found.id}/files`} /></div>
      <p className="mt-2 text-xs text-muted">The hub removes it <Time value={found.expires_at} />, unless the same is exported again.</p>
    </div>
  );
}
