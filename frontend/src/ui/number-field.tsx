"use client";

import type { ReactNode } from "react";
import type { ApiError } from "@/api/errors";
import { type Bound, range, told, wrong } from "@/lib/bounds";
import { Field, Input } from "./field";

interface NumberFieldProps {
  /** The field's name in the request. */
  name: string;
  label: ReactNode;
  bound: Bound;
  value: string;
  onChange: (value: string) => void;
  refusal?: ApiError | null;
  hint?: ReactNode;
  disabled?: boolean;
}

/** A number within the contract's bounds; left empty it takes the default, which it shows. */
export function NumberField({ name, label, bound, value, onChange, refusal, hint, disabled }: NumberFieldProps) {
  const between = range(bound);
  return (
    <Field name={name} label={<>{label}{between && <span className="font-normal text-muted"> &ensp;{between}</span>}</>} hint={hint ?? told(bound)} error={wrong(bound, value)} refusal={refusal}>
      <Input
        inputMode={bound.type === "integer" ? "numeric" : "decimal"}
        autoComplete="off"
        value={value}
        disabled={disabled}
        placeholder={bound.default === undefined ? "" : String(bound.default)}
        onChange={(event) => onChange(event.target.value)}
      />
    </Field>
  );
}
