"use client";

import { useEffect, useRef, useState } from "react";
import { cn } from "@/lib/cn";
import { useUrl } from "@/lib/url";
import { Input } from "./field";

/** A filter's text, which stands in the page's address a moment after it was typed. */
export function UrlInput({ name, label, className }: { name: string; label: string; className?: string }) {
  const [params, change] = useUrl();
  const there = params.get(name) ?? "";
  const [text, setText] = useState(there);
  const written = useRef(there);
  useEffect(() => {
    if (there !== written.current) setText(there); // changed by someone else: a link, the back button
    written.current = there;
  }, [there]);
  useEffect(() => {
    if (text === there) return;
    const timer = setTimeout(() => {
      written.current = text;
      change({ [name]: text });
    }, 200);
    return () => clearTimeout(timer);
  });
  return (
    <Input type="search" aria-label={label} placeholder={label} maxLength={100} value={text} onChange={(event) => setText(event.target.value)} className={cn("w-56 max-md:w-full", className)} />
  );
}
