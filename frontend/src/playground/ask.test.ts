import { asked } from "./answer";
import { faults, request, type Turn } from "./ask";

const side = { model: 3, version: "latest" };
const turn = (prompt: string, ...texts: string[]): Turn => ({ id: 1, prompt, answers: texts.map((text) => ({ ...asked("x"), phase: "done", text })) });

test("each side is reminded of its own answers only", () => {
  const body = request("chat", side, 1, [turn("hi", "left", "right"), turn("alone", "left")], "and now?", { system: "Be brief.", temperature: "0.5" });
  expect(body).toEqual({
    model_id: 3, version: "latest", temperature: 0.5,
    messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "hi" }, { role: "assistant", content: "right" }, { role: "user", content: "and now?" }],
  });
});

test("a completion continues the text alone", () => {
  expect(request("completion", side, 0, [turn("hi", "left")], "Once", { stop: "\\n\nEND", seed: "", response_schema: " " })).toEqual({ model_id: 3, version: "latest", prompt: "Once", stop: ["\n", "END"] });
});

test("settings out of the contract's bounds are told by field", () => {
  expect(faults({ temperature: "3", top_p: "0", top_k: "1.5", response_schema: "{", seed: "1" })).toEqual({
    temperature: "Give a number 0 to 2.", top_p: "Give a number above 0, at most 1.", top_k: "Give a whole number.", response_schema: expect.stringContaining("no JSON"),
  });
  expect(faults({ response_schema: "[]" })).toEqual({ response_schema: "Give a JSON schema: an object." });
  expect(faults({ response_schema: '{"type":"object"}', stop: "a\nb" })).toEqual({});
});
