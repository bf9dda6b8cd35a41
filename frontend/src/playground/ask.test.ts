import { type Answer, asked } from "./answer";
import { request, type Turn } from "./ask";

const side = { model: 3, version: "latest" };
const done = (answer: Partial<Answer>): Answer => ({ ...asked("x"), phase: "done", ...answer });
const turn = (prompt: string, ...texts: string[]): Turn => ({ id: 1, prompt, answers: texts.map((text) => [done({ text })]) });
const next = (prompt: string): Turn => ({ id: 2, prompt, answers: [[asked("x")], [asked("x")]] });

test("each side is reminded of its own answers only", () => {
  const body = request("chat", side, 1, [turn("hi", "left", "right"), turn("alone", "left"), next("and now?")], { system: "Be brief.", temperature: "0.5" });
  expect(body).toEqual({
    model_id: 3, version: "latest", temperature: 0.5,
    messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "hi" }, { role: "assistant", content: "right" }, { role: "user", content: "and now?" }],
  });
});

test("a completion continues the text alone", () => {
  const settings = { stop: "\\n\nEND", seed: "", system: "Be brief.", tools: '[{"name": "now"}]' };
  expect(request("completion", side, 0, [turn("hi", "left"), next("Once")], settings)).toEqual({ model_id: 3, version: "latest", prompt: "Once", stop: ["\n", "END"] });
});

test("results go back as messages of their calls; a call without one was never made", () => {
  const calls = [{ id: "a", name: "now", arguments: "{}" }, { id: "b", name: "now", arguments: '{"zone": "UTC"}' }];
  const answered = { ...next("What time?"), answers: [[done({ calls, results: ["noon", ""] }), asked("x")]] };
  const said = [
    { role: "user", content: "What time?" }, { role: "assistant", content: "", tool_calls: calls },
    { role: "tool", tool_call_id: "a", content: "noon" }, { role: "tool", tool_call_id: "b", content: "" },
  ];
  expect(request("chat", side, 0, [answered], {}).messages).toEqual(said);
  const left = { ...answered, answers: [[done({ calls })]] };
  expect(request("chat", side, 0, [left, next("Hello?")], {}).messages).toEqual([{ role: "user", content: "Hello?" }]);
});
