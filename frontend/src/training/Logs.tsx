"use client";

import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDownToLine, ScrollText } from "lucide-react";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { type ApiError, asApiError, type Schemas, useLive } from "@/api";
import { type LogLine, logLines } from "@/api/training";
import { cn } from "@/lib/cn";
import { number, word } from "@/lib/format";
import { Button, Card, Empty, ErrorState, Skeleton } from "@/ui";
import { LogWindow } from "./log";

const ROW = 22;
const HEIGHT = 352;
const PAGE = 1000;

/** What trainer and worker said: only what is seen is asked for and drawn; new lines come by themselves. */
export function Logs({ id }: { id: number }) {
  const [log] = useState(() => new LogWindow((after_sequence, page_size) => logLines(id, { after_sequence, page_size })));
  const [state, setState] = useState<{ ready: boolean; begin: number; error: ApiError | null }>({ ready: false, begin: 0, error: null });
  const [follow, setFollow] = useState(true);
  const begin = useCallback(async () => {
    setState({ ready: false, begin: 0, error: null });
    try {
      const [first, newest] = await Promise.all([logLines(id, { page_size: 1 }), logLines(id, { page_size: 1, newest_first: true })]);
      log.frame(first[0], newest[0]);
      setState({ ready: true, begin: log.lastSequence, error: null });
    } catch (thrown) {
      setState({ ready: false, begin: 0, error: asApiError(thrown) });
    }
  }, [id, log]);
  useEffect(() => void begin(), [begin]);

  const buffer = useRef<LogLine[]>([]);
  const { mode } = useLive<Schemas["TrainingLogEvent"]>({
    enabled: state.ready,
    path: (after) => `/training/jobs/${id}/logs:tail?after_sequence=${after || state.begin}`,
    onFrame: ({ line }) => {
      if (!line) return undefined;
      if (!buffer.current.length) setTimeout(() => log.take(buffer.current.splice(0)), 100);
      buffer.current.push(line);
      return line.sequence;
    },
    isLast: ({ ended }) => !!ended,
    poll: async () => log.take(await logLines(id, { after_sequence: log.lastSequence, page_size: PAGE })),
  });
  useSyncExternalStore(log.subscribe, () => log.changes, () => 0);

  return (
    <Card
      title="Log"
      hint={`${number(log.rows)} lines${mode === "polling" ? "; the live stream is away, asking every 2 s" : ""}`}
      actions={<Button size="sm" variant={follow ? "secondary" : "primary"} aria-pressed={follow} onClick={() => setFollow(!follow)}><ArrowDownToLine aria-hidden />{follow ? "Following" : "Follow the end"}</Button>}
      flush
    >
      {state.error ? <ErrorState error={state.error} retry={() => void begin()} />
        : !state.ready ? <div className="px-5 pt-2" style={{ height: HEIGHT }}>{Array.from({ length: 8 }, (_, i) => <Skeleton key={i} className="mb-2.5 h-3.5" />)}</div>
        : !log.rows ? <Empty icon={ScrollText} title="No line yet">The log begins with the job&apos;s first attempt.</Empty>
        : <Lines log={log} follow={follow} setFollow={setFollow} />}
    </Card>
  );
}

function Lines({ log, follow, setFollow }: { log: LogWindow; follow: boolean; setFollow: (follow: boolean) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = log.rows;
  const virtual = useVirtualizer({ count: rows, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 20, initialRect: { width: 800, height: HEIGHT } });
  const items = virtual.getVirtualItems();
  const from = items[0]?.index ?? 0;
  const to = items.at(-1)?.index ?? 0;
  useEffect(() => void log.show(from, to), [log, from, to, rows]);
  useEffect(() => {
    if (follow && rows) virtual.scrollToIndex(rows - 1, { align: "end" });
  }, [follow, rows, virtual]);
  const stop = () => follow && setFollow(false);
  return (
    <div
      ref={scroller} role="log" aria-label="Log lines" aria-live="off" tabIndex={0}
      onWheel={(event) => event.deltaY < 0 && stop()} onTouchMove={stop}
      onKeyDown={(event) => ["ArrowUp", "PageUp", "Home"].includes(event.key) && stop()}
      className="overflow-auto border-t border-line font-mono text-xs focus-visible:outline-offset-[-2px]" style={{ height: HEIGHT }}
    >
      <div className="relative w-max min-w-full" style={{ height: virtual.getTotalSize() }}>
        {items.map(({ index, start }) => <Line key={index} line={log.line(index)} start={start} />)}
      </div>
    </div>
  );
}

const LEVEL: Record<string, string> = { warning: "text-warn", error: "text-bad", debug: "text-muted" };

function Line({ line, start }: { line: LogLine | undefined; start: number }) {
  const level = word(line?.level, "TRAINING_LOG_LEVEL");
  return (
    <div className="absolute left-0 flex min-w-full gap-4 px-5 whitespace-pre hover:bg-raised" style={{ height: ROW, lineHeight: `${ROW}px`, transform: `translateY(${start}px)` }}>
      {line ? (
        <>
          <span className="w-12 shrink-0 text-right text-muted select-none">{line.sequence}</span>
          <span className="w-20 shrink-0 text-muted max-sm:hidden" title={line.created_at}>{line.created_at ? new Date(line.created_at).toLocaleTimeString(undefined, { hour12: false }) : ""}</span>
          <span className="w-14 shrink-0 text-muted max-sm:hidden">{word(line.source, "TRAINING_LOG_SOURCE")}</span>
          <span className={cn(LEVEL[level])}>{LEVEL[level] && level !== "debug" ? `${level}: ` : ""}{line.message}</span>
        </>
      ) : <Skeleton className="mt-1.5 h-3 w-80" />}
    </div>
  );
}
