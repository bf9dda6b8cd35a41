import { active, faults, fields } from "./settings";

const TOOLS = '[{"name": "now", "parameters": {"type": "object"}}, {"type": "function", "function": {"name": "roll", "description": "Rolls."}}]';

test("settings out of the contract's bounds are told by field", () => {
  expect(faults({ temperature: "3", top_p: "0", top_k: "1.5", output: "response_schema", response_schema: "{", seed: "1", logprobs: "true", top_logprobs: "21", stop: "a\nb\nc\nd\ne\nf\ng\nh\ni" }, "chat")).toEqual({
    temperature: "Give a number 0 to 2.", top_p: "Give a number above 0, at most 1.", top_k: "Give a whole number.", top_logprobs: "Give a number 0 to 20.", stop: "Give at most 8.", response_schema: expect.stringContaining("no JSON"),
  });
  expect(faults({ output: "response_schema", response_schema: '{"type":"object"}', stop: "a\nb" }, "chat")).toEqual({});
});

test.each([
  ["response_schema", "[]", "Give a JSON schema: an object."], ["response_schema", "", "Give a JSON schema: an object."],
  ["regex", " ", "Give a regular expression."], ["choice", "\n", "Give a choice, one a line."], ["choice", "yes\nno\nyes", "Give each choice once."],
])("an answer held to %s is held to something", (output, text, fault) => {
  expect(faults({ output, [output]: text }, "completion")).toEqual({ [output]: fault });
  expect(faults({ output: "", [output]: text }, "completion")).toEqual({}); // what is not chosen is not looked at
});

test.each([
  ["{}", "Give a list"], ['[{"description": "x"}]', "Tool 1 has no name."], ['[{"name": "a"}, {"name": "b", "colour": 1}]', "Tool 2 has colour"], ["[", "no JSON"],
])("tools that are none are told: %s", (tools, fault) => {
  expect(faults({ tools }, "chat").tools).toContain(fault);
  expect(faults({ tools }, "completion")).toEqual({});
});

test("tools go with free text alone, and a choice with its tool", () => {
  expect(faults({ tools: TOOLS, output: "regex", regex: "a" }, "chat").tools).toContain("calls no tools");
  expect(faults({ tools: TOOLS, tool_choice: "call:gone" }, "chat")).toEqual({ tool_choice: "There is no tool gone." });
  expect(faults({ tool_choice: "TOOL_CHOICE_REQUIRED" }, "chat")).toEqual({ tool_choice: "There are no tools." });
});

test.each([
  [[["x", "1"]], "x is no token id: give a whole number."], [[["5", "101"]], "Token 5: Give a number −100 to 100."],
  [[["5", "1"], ["05", "2"]], "Token 5 is there twice."], [[["", "2"]], "Nothing is no token id: give a whole number."], [[["5", ""]], "Token 5: Give a number."],
])("biases are within their bounds: %j", (pairs, fault) => {
  expect(faults({ logit_bias: JSON.stringify(pairs) }, "chat")).toEqual({ logit_bias: fault });
});

test("they become the fields of the contract", () => {
  const bias = JSON.stringify([["5", "-100"], ["", ""]]);
  expect(fields({ output: "choice", choice: "yes\nno", regex: "kept", logprobs: "true", top_logprobs: "3", logit_bias: bias }, "chat")).toEqual({
    choice: { options: ["yes", "no"] }, logprobs: true, top_logprobs: 3, logit_bias: { 5: -100 },
  });
  expect(fields({ top_logprobs: "3" }, "chat")).toEqual({}); // alternatives to nothing
  const tools = [{ name: "now", parameters: '{"type":"object"}' }, { name: "roll", description: "Rolls." }];
  expect(fields({ tools: TOOLS, tool_choice: "call:roll" }, "chat")).toEqual({ tools, required_tool: "roll" });
  expect(fields({ tools: TOOLS, tool_choice: "TOOL_CHOICE_REQUIRED" }, "chat")).toEqual({ tools, tool_choice: "TOOL_CHOICE_REQUIRED" });
});

test("what is set is told in words, with the part where it is", () => {
  const settings = { system: "Be brief.", temperature: "0.5", stop: "a\nb", output: "regex", regex: "a", logprobs: "true", top_logprobs: "5", tools: TOOLS, tool_choice: "call:roll", logit_bias: '[["5","1"]]', seed: "" };
  expect(active(settings, "chat").map(({ part, text }) => `${part}: ${text}`)).toEqual([
    "sampling: Temperature 0.5", "system: System prompt", "sampling: 2 stop strings", "output: Regular expression", "probabilities: Probabilities, 5 alternatives", "tools: 2 tools, calls roll", "biases: 1 bias",
  ]);
  expect(active({}, "chat")).toEqual([]);
});
