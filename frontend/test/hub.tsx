import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import type { ReactNode } from "react";
import { LayerProvider } from "@/ui";

type Answer = unknown | (() => Response);

/** A hub that answers these paths with these bodies, text or Responses; an unknown path is away. */
export function answer(paths: Record<string, Answer>) {
  return vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
    const { pathname } = new URL((input as Request).url);
    if (!(pathname in paths)) throw new TypeError("no connection");
    const given = paths[pathname];
    if (typeof given === "function") return (given as () => Response)();
    return typeof given === "string" ? new Response(given) : Response.json(given);
  });
}

/** Renders below what the shell gives every page. */
export function renderInShell(children: ReactNode) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  return { client, ...render(<QueryClientProvider client={client}><LayerProvider>{children}</LayerProvider></QueryClientProvider>) };
}
