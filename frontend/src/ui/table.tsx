"use client";

import {
  type ColumnDef, createColumnHelper, createSortedRowModel, rowSortingFeature, sortFns, tableFeatures, useTable,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useRef } from "react";
import { cn } from "@/lib/cn";
import { Skeleton } from "./state";

const features = tableFeatures({ rowSortingFeature, sortedRowModel: createSortedRowModel(), sortFns });

export interface Column<T> {
  id: string;
  header: string;
  /** What it is sorted by; without it the column isn't sorted. */
  value?: (row: T) => string | number;
  cell: (row: T) => ReactNode;
  /** A CSS grid track: `minmax(0,2fr)`, `120px`. Default `minmax(0,1fr)`. */
  width?: string;
  align?: "right";
  /** Not shown on a narrow screen. */
  wide?: boolean;
}

interface TableProps<T> {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowId: (row: T) => string | number;
  /** What a click or Enter on a row does. Put a link into the first cell as well, for new tabs. */
  onOpen?: (row: T) => void;
  loading?: boolean;
  empty?: ReactNode;
  /** Asked for when the end comes near. */
  onEnd?: () => void;
  /** Height of the scrolled part; a short list takes less. */
  maxHeight?: number;
  rowHeight?: number;
  initialSort?: { id: string; desc: boolean };
}

/** Rows by the ten thousand: only what is seen is drawn. Arrows, Home and End move, Enter opens. */
export function Table<T>(props: TableProps<T>) {
  const { label, columns, rows, rowId, onOpen, loading, empty, onEnd, maxHeight = 640, rowHeight = 44, initialSort } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const helper = createColumnHelper<typeof features, { row: T }>();
  const defs = columns.map((column) =>
    helper.accessor(({ row }) => column.value?.(row) ?? "", { id: column.id, header: column.header, enableSorting: !!column.value }),
  ) as ColumnDef<typeof features, { row: T }>[];
  const data = useRows(rows);
  const table = useTable({ features, columns: defs, data, initialState: { sorting: initialSort ? [initialSort] : [] } });
  const sorted = table.getRowModel().rows;
  const virtual = useVirtualizer({
    count: sorted.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    initialRect: { width: 800, height: maxHeight },
    onChange: ({ range }) => range && range.endIndex >= sorted.length - 5 && onEnd?.(),
  });
  const grid = { "--tracks": columns.map((c) => c.width ?? "minmax(0,1fr)").join(" "), "--narrow": columns.filter((c) => !c.wide).map((c) => c.width ?? "minmax(0,1fr)").join(" ") };

  const move = (event: KeyboardEvent, index: number) => {
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: sorted.length - 1 }[event.key];
    if (event.key === "Enter" && event.target === event.currentTarget) onOpen?.(sorted[index]!.original.row);
    if (to === undefined || to < 0 || to >= sorted.length) return;
    event.preventDefault();
    virtual.scrollToIndex(to);
    requestAnimationFrame(() => scroller.current?.querySelector<HTMLElement>(`[data-index="${to}"]`)?.focus());
  };

  const line = "grid grid-cols-[var(--narrow)] items-center gap-4 px-5 md:grid-cols-[var(--tracks)]";
  const place = (c: Column<T>) => cn("min-w-0 truncate", c.align === "right" && "text-right", c.wide && "max-md:hidden");
  if (!loading && !rows.length && empty) return <>{empty}</>;
  return (
    <div role="table" aria-label={label} aria-rowcount={sorted.length + 1} style={grid as never}>
      <div role="rowgroup">
        <div role="row" className={cn(line, "h-9 border-b border-line text-xs text-muted")}>
          {columns.map((column) => {
            const state = table.getColumn(column.id);
            const order = state?.getIsSorted();
            return (
              <div key={column.id} role="columnheader" className={place(column)} aria-sort={order === "asc" ? "ascending" : order === "desc" ? "descending" : undefined}>
                {column.value ? (
                  <button type="button" onClick={() => state?.toggleSorting()} className="inline-flex items-center gap-1 hover:text-ink">
                    {column.header}
                    {order === "asc" && <ArrowUp aria-hidden className="size-3" />}
                    {order === "desc" && <ArrowDown aria-hidden className="size-3" />}
                  </button>
                ) : column.header}
              </div>
            );
          })}
        </div>
      </div>
      <div ref={scroller} role="rowgroup" className="overflow-y-auto" style={{ maxHeight }}>
        {loading ? (
          Array.from({ length: 6 }, (_, i) => (
            <div key={i} className={line} style={{ height: rowHeight }}>
              {columns.map((c) => <div key={c.id} className={place(c)}><Skeleton className="h-4 w-3/4" /></div>)}
            </div>
          ))
        ) : (
          <div role="presentation" className="relative" style={{ height: virtual.getTotalSize() }}>
            {virtual.getVirtualItems().map((item) => {
              const { row } = sorted[item.index]!.original;
              return (
                <div
                  key={rowId(row)}
                  role="row"
                  aria-rowindex={item.index + 2}
                  data-index={item.index}
                  tabIndex={item.index === 0 ? 0 : -1}
                  onKeyDown={(event) => move(event, item.index)}
                  onClick={(event) => (event.target as Element).closest("a, button") || onOpen?.(row)}
                  className={cn(line, "absolute inset-x-0 border-b border-line last:border-0 focus-visible:outline-offset-[-2px]", onOpen && "cursor-pointer hover:bg-raised")}
                  style={{ height: rowHeight, transform: `translateY(${item.start}px)` }}
                >
                  {columns.map((c) => <div key={c.id} role="cell" className={place(c)}>{c.cell(row)}</div>)}
                </div>
              );
            })}
          </div>
        )}
      </div>
    </div>
  );
}

/** Wraps the rows: the table library wants objects, and the same ones as long as nothing changed. */
function useRows<T>(rows: readonly T[]): { row: T }[] {
  const kept = useRef<{ from: readonly T[]; made: { row: T }[] }>({ from: [], made: [] });
  if (kept.current.from !== rows) kept.current = { from: rows, made: rows.map((row) => ({ row })) };
  return kept.current.made;
}
