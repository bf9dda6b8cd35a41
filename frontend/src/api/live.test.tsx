import { renderHook, waitFor } from "@testing-library/react";
import { useLive } from "./live";

interface Frame { sequence?: number; end?: boolean }
const body = (...list: Frame[]) => new Response(list.map((frame) => `data: ${JSON.stringify(frame)}\n\n`).join(""));
afterEach(() => vi.restoreAllMocks());

function follow(poll: () => Promise<boolean | void>) {
  const seen: Frame[] = [];
  const hook = renderHook(() =>
    useLive<Frame>({
      path: (after) => `/jobs/1/events?after_sequence=${after}`,
      onFrame: (frame) => { seen.push(frame); return frame.sequence; },
      isLast: (frame) => !!frame.end,
      poll, pollMs: 10, retryMs: 30,
    }),
  );
  return { seen, hook };
}

it("goes on after the last sequence when the stream breaks, polling in between", async () => {
  const fetched = vi.spyOn(globalThis, "fetch")
    .mockResolvedValueOnce(body({ sequence: 1 }, { sequence: 2 }))
    .mockRejectedValueOnce(new TypeError("cut"))
    .mockResolvedValueOnce(body({ sequence: 3, end: true }));
  const modes: string[] = [];
  const poll = vi.fn(async () => { modes.push(hook.result.current.mode); });
  const { seen, hook } = follow(poll);
  await waitFor(() => expect(hook.result.current.mode).toBe("ended"));
  expect(seen.map((frame) => frame.sequence)).toEqual([1, 2, 3]);
  expect(fetched.mock.calls.map(([r]) => new URL((r as Request).url).search)).toEqual(["?after_sequence=0", "?after_sequence=2", "?after_sequence=2"]);
  expect(modes).toContain("polling");
});

it("ends when polling finds the end", async () => {
  vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("no stream"));
  const { hook } = follow(async () => true);
  await waitFor(() => expect(hook.result.current.mode).toBe("ended"));
});
