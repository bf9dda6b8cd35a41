import { afterEach, expect, test, vi } from "vitest";
import { firstLines } from "./rows";

const cancelled = vi.fn();

function serve(...pieces: string[]): void {
  const left = pieces.map((piece) => new TextEncoder().encode(piece));
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = left.shift();
      if (piece) controller.enqueue(piece);
      else controller.close();
    },
    cancel: cancelled,
  }, { highWaterMark: 0 });
  vi.stubGlobal("fetch", async () => new Response(body));
}

afterEach(() => {
  cancelled.mockClear();
  vi.unstubAllGlobals();
});

test("a file with fewer rows comes whole, its last line with or without an end", async () => {
  serve('{"text": "o', 'ne"}\n\n{"text": "two"}');
  expect(await firstLines("/datasets/1/file", 5)).toEqual(['{"text": "one"}', '{"text": "two"}']);
  expect(cancelled).not.toHaveBeenCalled();
});

test("no more is asked for than there is to show", async () => {
  serve("a\nb\n", "c\nd\n", "e\n");
  expect(await firstLines("/datasets/1/file", 3)).toEqual(["a", "b", "c"]);
  expect(cancelled).toHaveBeenCalledOnce();
});

test("a row that is too long for a look is left out", async () => {
  serve("short\n", "x".repeat(70_000), "never read\n");
  expect(await firstLines("/datasets/1/file", 3)).toEqual(["short"]);
  expect(cancelled).toHaveBeenCalledOnce();
});
