"use client";

import { useSearchParams } from "next/navigation";

/** The page's parameters, and a way to change some of them: an empty text takes one away. */
export function useUrl(): [URLSearchParams, (changes: Record<string, string>) => void] {
  const params = useSearchParams();
  const change = (changes: Record<string, string>) => {
    const next = new URLSearchParams(window.location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    window.history.replaceState(null, "", next.size ? `?${next}` : window.location.pathname);
  };
  return [params, change];
}
