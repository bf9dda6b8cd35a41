"use client";

import { ChevronDown, Check } from "lucide-react";
import { Select as RadixSelect, Slider as RadixSlider } from "radix-ui";
import { type ComponentProps, createContext, type ReactNode, useContext, useId } from "react";
import type { ApiError } from "@/api/errors";
import { cn } from "@/lib/cn";

interface Wiring { id: string; "aria-describedby"?: string; "aria-invalid"?: true }
/** What a control inside a Field takes on. */
export const FieldContext = createContext<Wiring | null>(null);

interface FieldProps {
  label: ReactNode;
  hint?: ReactNode;
  /** What is wrong with it. */
  error?: string;
  /** The field's name in the request: the hub's own violation for it is shown here. */
  name?: string;
  /** What the hub answered to the whole form. */
  refusal?: ApiError | null;
  children: ReactNode;
  className?: string;
}

/** Label, control, hint and error, wired together. Hint and error share one line: nothing moves. */
export function Field({ label, hint, error, name, refusal, children, className }: FieldProps) {
  const id = useId();
  const wrong = error ?? (name && refusal ? refusal.at(name) : undefined);
  const told = wrong ?? hint;
  const wiring: Wiring = { id, ...(told ? { "aria-describedby": `${id}-hint` } : {}), ...(wrong ? { "aria-invalid": true } : {}) };
  return (
    <div className={cn("min-w-0", className)}>
      <label htmlFor={id} className="mb-1.5 block text-xs font-medium">{label}</label>
      <FieldContext value={wiring}>{children}</FieldContext>
      <p id={`${id}-hint`} className={cn("mt-1 min-h-4 text-xs text-pretty break-words", wrong ? "text-bad" : "text-muted")}>{told}</p>
    </div>
  );
}

const control =
  "w-full rounded-md border border-line-strong/60 bg-surface px-3 text-sm text-ink transition-colors placeholder:text-muted hover:border-line-strong aria-invalid:border-bad disabled:opacity-50";

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input {...useContext(FieldContext)} {...rest} className={cn(control, "h-9", className)} />;
}

export function Textarea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea rows={4} {...useContext(FieldContext)} {...rest} className={cn(control, "py-2 leading-6", className)} />;
}

interface SliderProps { value: number; onValueChange: (value: number) => void; min: number; max: number; step?: number; label: string }

export function Slider({ value, onValueChange, label, ...rest }: SliderProps) {
  return (
    <RadixSlider.Root {...rest} value={[value]} onValueChange={([next]) => onValueChange(next ?? value)} className="relative flex h-9 w-full touch-none items-center select-none">
      <RadixSlider.Track className="relative h-1 grow rounded-full bg-line">
        <RadixSlider.Range className="absolute h-full rounded-full bg-accent-fill" />
      </RadixSlider.Track>
      <RadixSlider.Thumb aria-label={label} className="block size-4 rounded-full border-2 border-accent-fill bg-surface" />
    </RadixSlider.Root>
  );
}

interface SelectProps {
  value: string;
  onValueChange: (value: string) => void;
  options: readonly { value: string; label: ReactNode; note?: ReactNode }[];
  placeholder?: string;
  disabled?: boolean;
  className?: string;
  "aria-label"?: string;
}

/** A choice of one. No option's value may be empty. */
export function Select({ value, onValueChange, options, placeholder, disabled, className, ...rest }: SelectProps) {
  return (
    <RadixSelect.Root value={value} onValueChange={onValueChange} disabled={disabled}>
      <RadixSelect.Trigger {...useContext(FieldContext)} {...rest} className={cn(control, "flex h-9 items-center justify-between gap-2 text-left data-[placeholder]:text-muted", className)}>
        <span className="truncate"><RadixSelect.Value placeholder={placeholder} /></span>
        <ChevronDown aria-hidden className="size-4 shrink-0 text-muted" />
      </RadixSelect.Trigger>
      <RadixSelect.Portal>
        <RadixSelect.Content position="popper" sideOffset={4} className="z-50 max-h-80 min-w-[var(--radix-select-trigger-width)] overflow-hidden rounded-lg border border-line bg-surface shadow-pop">
          <RadixSelect.Viewport className="p-1">
            {options.map((option) => (
              <RadixSelect.Item key={option.value} value={option.value} className="flex h-8 items-center gap-2 rounded-md px-2 text-sm outline-none select-none data-[highlighted]:bg-raised">
                <span className="size-4">
                  <RadixSelect.ItemIndicator><Check aria-hidden className="size-4 text-accent" /></RadixSelect.ItemIndicator>
                </span>
                <RadixSelect.ItemText>{option.label}</RadixSelect.ItemText>
                {option.note && <span className="ml-auto pl-4 text-xs text-muted">{option.note}</span>}
              </RadixSelect.Item>
            ))}
          </RadixSelect.Viewport>
        </RadixSelect.Content>
      </RadixSelect.Portal>
    </RadixSelect.Root>
  );
}
