import { cva, type VariantProps } from "class-variance-authority";
import { Slot } from "radix-ui";
import type { ComponentProps } from "react";
import { cn } from "@/lib/cn";

const look = cva(
  "inline-flex shrink-0 items-center justify-center gap-2 rounded-md font-medium whitespace-nowrap transition-colors select-none disabled:opacity-50 disabled:pointer-events-none [&_svg]:size-4 [&_svg]:shrink-0",
  {
    variants: {
      variant: {
        primary: "bg-accent-fill text-accent-ink hover:brightness-110",
        secondary: "border border-line bg-surface text-ink hover:bg-raised",
        ghost: "text-muted hover:bg-raised hover:text-ink",
        danger: "bg-bad-soft text-bad hover:brightness-95",
      },
      size: { sm: "h-8 px-2.5 text-xs", md: "h-9 px-3.5 text-sm", icon: "size-9" },
    },
    defaultVariants: { variant: "secondary", size: "md" },
  },
);

type Props = ComponentProps<"button"> & VariantProps<typeof look> & { asChild?: boolean; busy?: boolean };

/** A button; `busy` keeps its size and its words, and takes no click. `asChild` styles a link. */
export function Button({ className, variant, size, asChild, busy, disabled, ...rest }: Props) {
  const Tag = asChild ? Slot.Root : "button";
  return (
    <Tag
      {...(asChild ? {} : { type: "button", disabled: disabled || busy, "aria-busy": busy || undefined })}
      {...rest}
      className={cn(look({ variant, size }), busy && "animate-pulse", className)}
    />
  );
}
