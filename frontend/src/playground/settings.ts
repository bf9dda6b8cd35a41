/** What the settings' texts mean: what is wrong with them, what is set, and the fields of a request that they make. */

import { ASK_BOUNDS, type Asked, CHOICE_BOUNDS, type Tool, TOOL_BOUNDS } from "@/api/playground";
import { wrong } from "@/lib/bounds";

export type Mode = "chat" | "completion";

/** Texts by field of the contract; an empty one takes the hub's default. `system` begins each conversation, `output` is one of OUTPUTS. */
export type Settings = Readonly<Record<string, string>>;

export const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "max_tokens", "seed"] as const;

export const LABELS: Readonly<Record<string, string>> = {
  temperature: "Temperature", top_p: "Top p", top_k: "Top k", min_p: "Min p", repetition_penalty: "Repetition penalty",
  presence_penalty: "Presence penalty", frequency_penalty: "Frequency penalty", max_tokens: "Tokens at most", seed: "Seed",
  top_logprobs: "Alternatives",
};

/** What an answer can be held to, by the field that says so. */
export const OUTPUTS = { response_schema: "JSON schema", regex: "Regular expression", choice: "One of these choices" } as const;
const isOutput = (name: string | undefined): name is keyof typeof OUTPUTS => !!name && name in OUTPUTS;

/** The panel's parts, with the fields whose refusals stand in them. */
export const PARTS = {
  system: ["messages"], sampling: [...NUMBERS, "stop"], output: Object.keys(OUTPUTS), probabilities: ["logprobs", "top_logprobs"],
  tools: ["tools", "tool_choice", "required_tool"], biases: ["logit_bias"],
} as const satisfies Record<string, readonly string[]>;
export type Part = keyof typeof PARTS;

/** `tool_choice` is a name of the contract, or this and the name of the tool that is to be called. */
export const CALL = "call:";

/** What is wrong with the settings, by field. */
export function faults(settings: Settings, mode: Mode): Record<string, string> {
  const { output = "", tool_choice = "" } = settings;
  const found: [string, string | undefined][] = NUMBERS.map((name) => [name, wrong(ASK_BOUNDS[name]!, settings[name] ?? "")]);
  if (settings.logprobs) found.push(["top_logprobs", wrong(ASK_BOUNDS.top_logprobs!, settings.top_logprobs ?? "")]);
  if (isOutput(output)) found.push([output, fault(() => CHECKS[output](settings[output] ?? ""))]);
  found.push(["stop", fault(() => most(lines(settings.stop), ASK_BOUNDS.stop?.maxItems))], ["logit_bias", fault(() => biasesOf(settings.logit_bias))]);
  if (mode === "chat") {
    found.push(["tools", fault(() => {
      if (toolsOf(settings.tools).length && isOutput(output)) throw new Error("A held answer calls no tools: choose free text, or take the tools out.");
    })]);
    const name = tool_choice.startsWith(CALL) && tool_choice.slice(CALL.length);
    if (tool_choice && tool_choice !== "TOOL_CHOICE_NONE" && !namesOf(settings.tools).some((one) => !name || one === name)) found.push(["tool_choice", name ? `There is no tool ${name}.` : "There are no tools."]);
  }
  return Object.fromEntries(found.filter((one): one is [string, string] => !!one[1]));
}

/** The settings as fields of a request; only for those without a fault. */
export function fields(settings: Settings, mode: Mode): Partial<Asked> {
  const { output } = settings;
  const numbers = [...NUMBERS, ...(settings.logprobs ? ["top_logprobs"] : [])].filter((name) => settings[name]?.trim());
  const stop = lines(settings.stop);
  const biases = biasesOf(settings.logit_bias);
  return {
    ...Object.fromEntries(numbers.map((name) => [name, Number(settings[name])])),
    ...(stop.length && { stop }),
    ...(settings.logprobs && { logprobs: true }),
    ...(isOutput(output) && { [output]: output === "choice" ? { options: lines(settings.choice) } : settings[output]!.trim() }),
    ...(biases.length && { logit_bias: Object.fromEntries(biases) }),
    ...(mode === "chat" && tooling(settings)),
  };
}

function tooling({ tools, tool_choice = "" }: Settings): Partial<Asked> {
  const list = toolsOf(tools);
  if (!list.length) return {};
  if (tool_choice.startsWith(CALL)) return { tools: [...list], required_tool: tool_choice.slice(CALL.length) };
  return { tools: [...list], ...(tool_choice && { tool_choice: tool_choice as Asked["tool_choice"] }) };
}

/** What is set, in words, by the part of the panel where it is. */
export function active(settings: Settings, mode: Mode): readonly { part: Part; text: string }[] {
  const { output, tool_choice = "", top_logprobs = "" } = settings;
  const numbers = NUMBERS.filter((name) => settings[name]?.trim()).map((name) => ({ part: "sampling" as Part, text: `${LABELS[name]} ${settings[name]}` }));
  const tools = namesOf(settings.tools).length || (settings.tools?.trim() ? 1 : 0);
  const called = tool_choice.startsWith(CALL) ? `, calls ${tool_choice.slice(CALL.length)}` : tool_choice ? `, ${CHOICES[tool_choice]?.toLowerCase()}` : "";
  const found: [Part, string | false | 0][] = [
    ["system", mode === "chat" && !!settings.system?.trim() && "System prompt"],
    ["sampling", counted(lines(settings.stop).length, "stop string")],
    ["output", isOutput(output) && OUTPUTS[output]],
    ["probabilities", !!settings.logprobs && `Probabilities${Number(top_logprobs) ? `, ${top_logprobs} alternatives` : ""}`],
    ["tools", mode === "chat" && !!tools && `${counted(tools, "tool")}${called}`],
    ["biases", counted(pairsOf(settings.logit_bias).filter(([id]) => id.trim()).length, "bias", "biases")],
  ];
  return [...numbers, ...found.flatMap(([part, text]) => (text ? [{ part, text }] : []))];
}

const counted = (count: number, one: string, many = `${one}s`) => count > 0 && `${count} ${count === 1 ? one : many}`;

/** The contract's tool choices as people read them; unset is AUTO. */
export const CHOICES: Readonly<Record<string, string>> = { TOOL_CHOICE_NONE: "Sees no tools", TOOL_CHOICE_REQUIRED: "Must call one" };

/** Reads the list of tools, in this API's form or in OpenAI's; throws an Error that says what is wrong. */
export function toolsOf(text = ""): readonly Tool[] {
  if (!text.trim()) return [];
  const read: unknown = json(text);
  if (!Array.isArray(read)) throw new Error('Give a list: [{"name": "…", "description": "…", "parameters": {…}}].');
  return most(read, ASK_BOUNDS.tools?.maxItems).map(tool);
}

function tool(given: unknown, index: number): Tool {
  const one = isObject(given) && isObject(given.function) ? given.function : given;
  if (!isObject(one) || typeof one.name !== "string") throw new Error(`Tool ${index + 1} has no name.`);
  const other = Object.keys(one).find((key) => !(key in TOOL_BOUNDS));
  if (other !== undefined) throw new Error(`Tool ${index + 1} has ${other}; a tool has ${Object.keys(TOOL_BOUNDS).join(", ")}.`);
  const { parameters } = one;
  return { ...one, ...(parameters !== undefined && { parameters: typeof parameters === "string" ? parameters : JSON.stringify(parameters) }) } as Tool;
}

/** The tools' names, as far as the list can be read. */
export function namesOf(text?: string): readonly string[] {
  try {
    return toolsOf(text).map(({ name }) => name);
  } catch {
    return [];
  }
}

export type Pair = readonly [id: string, bias: string];

/** The rows of the biases' editor. */
export const pairsOf = (text?: string): readonly Pair[] => (text ? (JSON.parse(text) as Pair[]) : []);

/** Reads the rows; those without an id and a bias are not yet biases. Throws an Error that says what is wrong. */
function biasesOf(text?: string): readonly [id: string, bias: number][] {
  const pairs = most(pairsOf(text).filter((pair) => pair.some((one) => one.trim())), ASK_BOUNDS.logit_bias?.maxProperties);
  const seen = new Set<string>();
  return pairs.map(([id, bias]) => {
    if (!/^\d{1,10}$/.test(id.trim())) throw new Error(`${id.trim() || "Nothing"} is no token id: give a whole number.`);
    const name = String(Number(id));
    if (seen.has(name)) throw new Error(`Token ${name} is there twice.`);
    seen.add(name);
    const found = bias.trim() ? wrong(ASK_BOUNDS.logit_bias!.additionalProperties!, bias) : "Give a number.";
    if (found) throw new Error(`Token ${name}: ${found}`);
    return [name, Number(bias)];
  });
}

const CHECKS: Readonly<Record<keyof typeof OUTPUTS, (text: string) => unknown>> = {
  response_schema(text) {
    if (!isObject(json(text || "null"))) throw new Error("Give a JSON schema: an object.");
  },
  regex(text) {
    if (!text.trim()) throw new Error("Give a regular expression.");
  },
  choice(text) {
    const options = most(lines(text), CHOICE_BOUNDS.options?.maxItems);
    if (!options.length) throw new Error("Give a choice, one a line.");
    if (new Set(options).size < options.length) throw new Error("Give each choice once.");
  },
};

function fault(check: () => unknown): string | undefined {
  try {
    check();
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new Error(`This is no JSON: ${(thrown as Error).message}`);
  }
}

function most<T>(list: readonly T[], count = Infinity): readonly T[] {
  if (list.length > count) throw new Error(`Give at most ${count}.`);
  return list;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** Texts stand one a line; \n in one means a line's end. */
const lines = (text = "") => text.split("\n").filter(Boolean).map((line) => line.replaceAll("\\n", "\n"));
