import { ApiError } from "./errors";
import { frames } from "./sse";

const stream = (...parts: string[]) =>
  new ReadableStream<Uint8Array>({
    start(control) {
      for (const part of parts) control.enqueue(new TextEncoder().encode(part));
      control.close();
    },
  });

const serve = (response: Response) => vi.spyOn(globalThis, "fetch").mockResolvedValue(response);
afterEach(() => vi.restoreAllMocks());

async function all(path: string, init?: Parameters<typeof frames>[1]): Promise<unknown[]> {
  const found = [];
  for await (const frame of frames(path, init)) found.push(frame);
  return found;
}

it("puts frames together however they were cut, and skips comments", async () => {
  serve(new Response(stream('data: {"a"', ': 1}\n\n: still here\n\ndata: {"a":2}\r\n', "\r\n", 'data: {"a":3}\n\ndata: {"cut')));
  expect(await all("/training/jobs/1/events")).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }]);
});

it("cuts no character in two", async () => {
  const bytes = new TextEncoder().encode('data: {"text":"für"}\n\n');
  const body = new ReadableStream({ start(c) { for (const byte of bytes) c.enqueue(Uint8Array.of(byte)); c.close(); } });
  serve(new Response(body));
  expect(await all("/x")).toEqual([{ text: "für" }]);
});

it("posts a body and gives up when told to", async () => {
  const seen = serve(new Response(new ReadableStream()));
  const stop = new AbortController();
  const reading = all("/inference/stream", { method: "POST", body: { prompt: "hi" }, signal: stop.signal });
  const request = seen.mock.calls[0]![0] as Request;
  expect([request.method, await request.text()]).toEqual(["POST", '{"prompt":"hi"}']);
  stop.abort();
  expect(request.signal.aborted).toBe(true);
  void reading.catch(() => {});
});

it("throws the hub's refusal", async () => {
  serve(new Response('{"code":5,"message":"no such job","details":[]}', { status: 404 }));
  await expect(all("/training/jobs/9/events")).rejects.toThrow(new ApiError("no such job", 404));
});
