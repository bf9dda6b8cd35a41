"use client";

import { Box, Code2, Database, Download, FolderInput, GraduationCap, Layers, type LucideIcon, Package, SlidersHorizontal } from "lucide-react";
import Link from "next/link";
import { useEffect, useMemo, useRef, useState } from "react";
import type { Schemas } from "@/api";
import { cn } from "@/lib/cn";
import { Digest } from "@/ui";
import { BOX, graphOf, type Kind, layout, type Node } from "./graph";

const ICONS: Record<Kind, LucideIcon> = {
  dataset: Database, base: Box, code: Code2, lock: Package, recipe: SlidersHorizontal, job: GraduationCap, source: FolderInput, import: Download, version: Layers,
};

/** What a version was made from, as boxes and lines. To screen readers it is a list in the order of making. */
export function Lineage({ lineage }: { lineage: Schemas["Lineage"] }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [active, setActive] = useState<Kind | null>(null);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const graph = useMemo(() => graphOf(lineage), [lineage]);
  const drawing = useMemo(() => layout(graph, width || 1000), [graph, width]);
  const lit = (from: string, to: string) => active !== null && (from === active || to === active);
  return (
    <div ref={box} className="relative" style={{ height: drawing.height }}>
      <svg aria-hidden className="absolute inset-0 size-full overflow-visible" fill="none">
        {drawing.paths.map(({ from, to, d }) => (
          <path key={`${from}-${to}`} d={d} strokeWidth={lit(from, to) ? 2 : 1.5} className={cn("transition-colors", lit(from, to) ? "stroke-accent" : "stroke-line-strong/50")} />
        ))}
      </svg>
      <ol aria-label="Lineage">
        {graph.nodes.map((node) => {
          const place = drawing.places[node.id]!;
          return (
            <li
              key={node.id}
              onMouseEnter={() => setActive(node.id)}
              onMouseLeave={() => setActive(null)}
              onFocus={() => setActive(node.id)}
              onBlur={() => setActive(null)}
              className={cn("absolute flex flex-col justify-center rounded-lg border bg-surface px-3 transition-colors", node.id === "version" || active === node.id ? "border-accent" : "border-line")}
              style={{ left: place.x, top: place.y, width: place.width, height: BOX.height }}
            >
              <Inside node={node} />
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function Inside({ node: { id, label, title, href, digest, note, warn } }: { node: Node }) {
  const Icon = ICONS[id];
  return (
    <>
      <p className="flex items-center gap-1.5 text-2xs text-muted"><Icon aria-hidden className="size-3.5" strokeWidth={1.75} />{label}</p>
      <p className="truncate font-medium" title={title}>{href ? <Link href={href} prefetch={false} className="hover:underline">{title}</Link> : title}</p>
      <div className="flex h-6 items-center gap-2 text-2xs">
        {digest && <Digest value={digest} length={10} />}
        {note && <span className={cn("min-w-0 truncate", warn ? "text-warn" : "text-muted")} title={note}>{note}</span>}
      </div>
    </>
  );
}
