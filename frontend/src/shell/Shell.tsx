"use client";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { CircleHelp, Search } from "lucide-react";
import dynamic from "next/dynamic";
import Link from "next/link";
import { usePathname } from "next/navigation";
import { type ReactNode, useState } from "react";
import { ApiError } from "@/api";
import { cn } from "@/lib/cn";
import { LayerProvider } from "@/ui/layers";
import { Connection, OfflineBanner } from "./Connection";
import { isAt, PAGES } from "./pages";
import { ThemeToggle } from "./ThemeToggle";
import { useShortcuts } from "./useShortcuts";

const Palette = dynamic(() => import("./Palette"), { ssr: false });
const Help = dynamic(() => import("./Help"), { ssr: false });
const KeyPrompt = dynamic(() => import("./KeyPrompt"), { ssr: false });

/** A refusal is final; what the hub could not do just now is tried again. */
const retry = (count: number, error: unknown) =>
  count < 2 && !(error instanceof ApiError && error.status > 0 && error.status < 500);

export function Shell({ children }: { children: ReactNode }) {
  const [client] = useState(() => new QueryClient({ defaultOptions: { queries: { retry, staleTime: 2000 } } }));
  return (
    <QueryClientProvider client={client}>
      <LayerProvider><Frame>{children}</Frame></LayerProvider>
    </QueryClientProvider>
  );
}

function Frame({ children }: { children: ReactNode }) {
  const [open, setOpen] = useState<"palette" | "help" | null>(null);
  useShortcuts({ palette: () => setOpen("palette"), help: () => setOpen("help") });
  const change = (next: boolean) => setOpen((now) => (next ? now : null));
  return (
    <>
      <a href="#main" className="fixed top-2 left-2 z-50 -translate-y-16 rounded-md bg-accent-fill px-3 py-2 text-accent-ink focus:translate-y-0">Skip to content</a>
      <Sidebar />
      <div className="flex min-h-dvh flex-col md:pl-56">
        <header className="sticky top-0 z-30 border-b border-line bg-canvas/85 backdrop-blur-md">
          <div className="flex h-14 items-center gap-2 px-4 md:px-8">
            <Brand className="md:hidden" short />
            <button type="button" onClick={() => setOpen("palette")} className="ml-auto flex h-9 items-center gap-2 rounded-md border border-line bg-surface px-2.5 text-muted hover:text-ink max-md:w-9 max-md:justify-center md:mr-auto md:ml-0 md:w-80">
              <Search aria-hidden className="size-4" />
              <span className="max-md:sr-only">Jump to…</span>
              <kbd aria-hidden className="ml-auto rounded border border-line px-1.5 font-sans text-2xs max-md:hidden">Ctrl K</kbd>
            </button>
            <Connection />
            <button type="button" onClick={() => setOpen("help")} aria-label="Keyboard shortcuts" className="grid size-9 place-items-center rounded-md text-muted hover:bg-raised hover:text-ink max-md:hidden">
              <CircleHelp aria-hidden className="size-4" />
            </button>
            <ThemeToggle />
          </div>
        </header>
        <main id="main" tabIndex={-1} className="mx-auto w-full max-w-6xl flex-1 px-4 py-6 outline-none max-md:pb-24 md:px-8 md:py-8">{children}</main>
      </div>
      <BottomBar />
      <OfflineBanner />
      {open === "palette" && <Palette open onOpenChange={change} />}
      {open === "help" && <Help open onOpenChange={change} />}
      <KeyPrompt />
    </>
  );
}

function Brand({ className, short }: { className?: string; short?: boolean }) {
  return (
    <Link href="/" className={cn("flex items-center gap-2.5 font-semibold tracking-tight", className)}>
      <svg aria-hidden viewBox="0 0 24 24" className="size-6 text-accent">
        <rect x="1" y="1" width="22" height="22" rx="6" fill="currentColor" opacity="0.16" />
        <path d="M6 16.5V7.5l6 6 6-6v9" fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" strokeLinejoin="round" />
      </svg>
      {short ? "Hub" : "MLX Model Hub"}
    </Link>
  );
}

function Sidebar() {
  const path = usePathname();
  return (
    <div className="fixed inset-y-0 left-0 z-30 w-56 border-r border-line bg-surface px-3 max-md:hidden">
      <div className="flex h-14 items-center px-2"><Brand /></div>
      <nav aria-label="Pages" className="mt-2 flex flex-col gap-0.5">
        {PAGES.map(({ href, label, icon: Icon }) => (
          <Link key={href} href={href} prefetch={false} aria-current={isAt(path, href) ? "page" : undefined} className="flex h-9 items-center gap-3 rounded-md px-2.5 font-medium text-muted transition-colors hover:bg-raised hover:text-ink aria-[current=page]:bg-accent-soft aria-[current=page]:text-accent">
            <Icon aria-hidden className="size-4" strokeWidth={1.75} />
            {label}
          </Link>
        ))}
      </nav>
    </div>
  );
}

function BottomBar() {
  const path = usePathname();
  return (
    <nav aria-label="Pages" className="fixed inset-x-0 bottom-0 z-30 grid grid-cols-6 border-t border-line bg-surface pb-[env(safe-area-inset-bottom)] md:hidden">
      {PAGES.map(({ href, label, icon: Icon }) => (
        <Link key={href} href={href} prefetch={false} aria-current={isAt(path, href) ? "page" : undefined} className="flex h-16 flex-col items-center justify-center gap-1 text-2xs font-medium text-muted aria-[current=page]:text-accent">
          <Icon aria-hidden className="size-5" strokeWidth={1.75} />
          {label}
        </Link>
      ))}
    </nav>
  );
}
