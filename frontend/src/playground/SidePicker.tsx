"use client";

import type { ReactNode } from "react";
import { type Schemas, useVersions } from "@/api";
import { Select } from "@/ui";
import type { Side } from "./ask";

const USUAL = "usual"; // a Select's value may not be empty

interface SidePickerProps { label: string; side: Side; names: ReadonlyMap<number, string>; onChange: (side: Side) => void; action?: ReactNode }

/** Which model and which of its versions a side asks. */
export function SidePicker({ label, side, names, onChange, action }: SidePickerProps) {
  const versions = useVersions(side.model);
  const options = choices(versions.data ?? []);
  // What the address names stays a choice, though nobody serves it: the hub says why.
  if (side.version && !options.some(({ value }) => value === side.version)) options.push({ value: side.version, label: side.version, note: "" });
  return (
    <div className="flex min-w-0 items-center gap-1 rounded-xl border border-line bg-surface p-1.5">
      <Select aria-label={`${label}: model`} className="min-w-0 flex-1 border-transparent" value={String(side.model)} onValueChange={(value) => onChange({ model: Number(value), version: "" })} options={[...names].map(([id, name]) => ({ value: String(id), label: name }))} />
      <Select aria-label={`${label}: version`} className="w-32 shrink-0 border-transparent" value={side.version || USUAL} onValueChange={(value) => onChange({ ...side, version: value === USUAL ? "" : value })} options={[{ value: USUAL, label: versions.data?.length ? "latest" : "base", note: "default" }, ...options]} />
      {action}
    </div>
  );
}

/** Aliases, the versions that can be asked, and the base model alone. */
export function choices(versions: readonly Schemas["ModelVersion"][]) {
  const ready = versions.filter(({ status }) => status === "VERSION_STATUS_READY");
  const aliases = ready.flatMap(({ aliases = [], version }) => aliases.filter((alias) => alias !== "latest").map((alias) => ({ value: alias, label: alias, note: `version ${version}` })));
  const numbers = ready.map(({ version }) => ({ value: String(version), label: `version ${version}`, note: "" }));
  return [...aliases, ...numbers, { value: "base", label: "base", note: "untrained" }];
}
