/** A job's log as a window over its lines: any part of it can be asked for by number, and only that is. */

import type { LogLine } from "@/api/training";

export const PAGE = 500;

/** Pages (by number) that hold the rows from..to and are neither here nor on their way. */
export function missing(from: number, to: number, asked: ReadonlySet<number>): number[] {
  const pages: number[] = [];
  for (let page = Math.floor(from / PAGE); page <= Math.floor(to / PAGE); page += 1)
    if (!asked.has(page)) pages.push(page);
  return pages;
}

export type Ask = (afterSequence: number, count: number) => Promise<LogLine[]>;

/** Lines by their sequence. Rows count from 0 at the first line that is kept. */
export class LogWindow {
  /** Rises with every change, for React. */
  changes = 0;
  private readonly lines = new Map<number, LogLine>();
  private readonly asked = new Set<number>();
  private readonly listeners = new Set<() => void>();
  private first = 1;
  private last = 0;

  constructor(private readonly ask: Ask) {}

  get rows(): number {
    return this.last ? this.last - this.first + 1 : 0;
  }

  get lastSequence(): number {
    return this.last;
  }

  line(row: number): LogLine | undefined {
    return this.lines.get(this.first + row);
  }

  /** Tells where the log begins and ends, by its first and its newest line. */
  frame(first: LogLine | undefined, newest: LogLine | undefined): void {
    if (!first || !newest) return;
    this.first = first.sequence ?? 1;
    this.take([first, newest]);
  }

  take(lines: readonly LogLine[]): void {
    for (const line of lines) {
      this.lines.set(line.sequence ?? 0, line);
      this.last = Math.max(this.last, line.sequence ?? 0);
    }
    this.changes += 1;
    for (const tell of this.listeners) tell();
  }

  /** Asks for what is missing of these rows. */
  async show(from: number, to: number): Promise<void> {
    const pages = missing(from, to, this.asked).filter((page) => this.lacks(page));
    await Promise.all(
      pages.map(async (page) => {
        this.asked.add(page);
        try {
          this.take(await this.ask(this.first + page * PAGE - 1, PAGE));
        } catch {
          this.asked.delete(page); // asked again when it is next seen
        }
      }),
    );
  }

  subscribe = (tell: () => void) => {
    this.listeners.add(tell);
    return () => void this.listeners.delete(tell);
  };

  private lacks(page: number): boolean {
    const end = Math.min((page + 1) * PAGE, this.rows);
    for (let row = page * PAGE; row < end; row += 1) if (!this.line(row)) return true;
    return false;
  }
}
