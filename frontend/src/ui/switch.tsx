"use client";

import { Switch as RadixSwitch } from "radix-ui";
import { type ComponentProps, useContext } from "react";
import { cn } from "@/lib/cn";
import { FieldContext } from "./field";

/** On or off; apart from the other controls, for few pages have one. */
export function Switch({ className, ...rest }: ComponentProps<typeof RadixSwitch.Root>) {
  return (
    <RadixSwitch.Root {...useContext(FieldContext)} {...rest} className={cn("relative h-5 w-9 shrink-0 rounded-full bg-line-strong transition-colors data-[state=checked]:bg-accent-fill disabled:opacity-50", className)}>
      <RadixSwitch.Thumb className="block size-4 translate-x-0.5 rounded-full bg-white shadow-sm transition-transform data-[state=checked]:translate-x-[18px]" />
    </RadixSwitch.Root>
  );
}
