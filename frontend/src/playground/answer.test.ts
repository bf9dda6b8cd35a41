import type { AnswerFrame } from "@/api/playground";
import { asked, close, reduce, stop, waiting } from "./answer";

const delta = (text: string, tokens: number) => ({ delta: { text, tokens } }) as AnswerFrame;
const done = { completion: { text: "Hello", tokens: 5, ttft_ms: 100, latency_ms: 1100, finish_reason: "FINISH_REASON_STOP" } } as AnswerFrame;

test("pieces become a text, with the time to the first and the speed since", () => {
  let seen = reduce(asked("a"), [delta("He", 1)], 400);
  seen = reduce(seen, [delta("llo", 4)], 1400);
  expect(seen).toMatchObject({ phase: "streaming", text: "Hello", tokens: 4, firstMs: 400, speed: 4 });
});

test("the completion says what was measured where it was made", () => {
  expect(reduce(asked("a"), [delta("He", 1), done], 5000)).toMatchObject({ phase: "done", text: "Hello", tokens: 5, firstMs: 100, speed: 4 });
});

test("a stream without an end was cut; one with an end was not", () => {
  const half = reduce(asked("a"), [delta("He", 1)], 10);
  expect(close(half)).toMatchObject({ phase: "cut", text: "He" });
  expect(close(reduce(half, [done], 20)).phase).toBe("done");
  expect(stop(half).phase).toBe("stopped");
  expect(close(stop(half)).phase).toBe("stopped");
});

test("an error in the stream ends it and keeps the text so far", () => {
  const error = { code: 13, message: "The engine died.", details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "ENGINE_DIED" }] };
  const seen = close(reduce(asked("a"), [delta("He", 1), { error } as AnswerFrame], 10));
  expect(seen).toMatchObject({ phase: "failed", text: "He", error: { message: "The engine died.", reason: "ENGINE_DIED" } });
});

test("probabilities and calls come in pieces, and whole at the end", () => {
  const token = { token: { id: 1, text: "a", bytes: "", logprob: 0 }, top: [] };
  const call = { id: "c", name: "now", arguments: "{}" };
  let seen = reduce(asked("a"), [{ delta: { text: "a", tokens: 1, logprobs: [token] } }, { delta: { text: "", tokens: 2, logprobs: [token] } }, { tool_call: call }] as unknown as AnswerFrame[], 10);
  expect(seen).toMatchObject({ phase: "streaming", logprobs: [token, token], calls: [call] });
  seen = reduce(seen, [{ completion: { text: "a", tokens: 2, latency_ms: 101, ttft_ms: 100, logprobs: [token, token], tool_calls: [call] } } as unknown as AnswerFrame], 20);
  expect(seen).toMatchObject({ logprobs: [token, token], calls: [call], completion: { logprobs: [] }, speed: null }); // its first and last piece were one
});

test("it says how far the model is on its way", () => {
  const seen = reduce(asked("a"), [{ loading: { stage: "LOADING_STAGE_WEIGHTS", share: 0.42 } } as AnswerFrame], 10);
  expect(waiting(seen)).toBe("Loads the weights, 42 %");
});
