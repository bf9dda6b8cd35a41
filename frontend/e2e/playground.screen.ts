import assert from "node:assert/strict";
import type { Locator, Page } from "playwright-core";
import type { Hub, Screen } from "./hub.ts";
import { guard, literally, PAYLOADS } from "./payloads.ts";

let path = "";

/** A model of this run's own, over the starter: it answers before it was ever trained. */
async function model(hub: Hub): Promise<string> {
  const body = JSON.stringify({ name: `ui-playground-${Date.now().toString(36)}`, base_model: "smollm2-135m-instruct" });
  const answer = await fetch(`${hub.url}/models`, { method: "POST", body });
  assert.ok(answer.ok, await answer.clone().text());
  return `/playground/?model=${((await answer.json()) as { id: number }).id}`;
}

/** Asks, and looks for the hub's refusal in the answer and at the field. */
async function refused(page: Page, field: Locator, text: string): Promise<void> {
  await ask(page, "Hello");
  await answers(page).last().getByRole("alert").waitFor({ timeout: 120_000 });
  await page.locator(`[id="${await field.getAttribute("aria-describedby")}"]`).getByText(text).waitFor();
  assert.equal(await field.getAttribute("aria-invalid"), "true");
}

const frame = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
const answers = (page: Page) => page.getByRole("article");

/** Answers every question by these frames; for what the hub itself can't be made to do. */
const told = (page: Page, ...frames: object[]) =>
  page.route("**/inference/stream", (route) => route.fulfill({ contentType: "text/event-stream", body: frames.map(frame).join("") }));

/** Opens a part of the settings. */
const part = (page: Page, name: string) => page.getByRole("button", { name: new RegExp(`^${name}`) }).click();

async function choose(page: Page, label: string, option: string): Promise<void> {
  await page.getByRole("combobox", { name: label }).click();
  await page.getByRole("option", { name: option }).click();
}

const likely = (id: number, text: string, share: number) => ({ id, text, bytes: "", logprob: Math.log(share) });
const CALL = { id: "call-1", name: "weather", arguments: '{"city":"Paris","days":2}' };
const TOOLS = '[{"name": "weather", "description": "Tells the weather.", "parameters": {"type": "object"}}]';

async function ask(page: Page, prompt: string): Promise<void> {
  await page.getByRole("textbox", { name: "Prompt", exact: true }).fill(prompt);
  await page.keyboard.press("Enter");
}

export default {
  "streams two sides of one prompt, and tells where an answer came from": async (hub) => {
    path = await model(hub);
    const page = await hub.open(path);
    await page.getByRole("button", { name: "Side by side" }).click();
    await page.getByRole("textbox", { name: "Tokens at most" }).fill("12");
    await ask(page, "Say hello.");
    await page.getByRole("button", { name: "Why did it say that?" }).nth(1).waitFor({ timeout: 120_000 });
    assert.equal(await answers(page).count(), 2);
    for (const fact of ["tokens/s", "first token", "cached", "finish"]) await answers(page).nth(1).getByText(fact, { exact: true }).waitFor();
    await hub.axe(page);
    await page.getByRole("button", { name: "Why did it say that?" }).first().click();
    const why = page.getByRole("dialog", { name: "Why did it say that?" });
    await why.getByText("the likeliest token each time").waitFor();
    await why.getByRole("button", { name: "Copy the whole digest" }).nth(2).waitFor();
    await hub.axe(page);
    await hub.shot(page, "playground-why");
    await page.keyboard.press("Escape");
    await page.reload();
    await answers(page).nth(1).waitFor(); // the tab keeps the conversation, the address the sides
    await page.getByLabel("Right: version").waitFor();
  },

  "stops when it is told to, by Escape": async (hub) => {
    const page = await hub.open(path);
    await page.getByRole("textbox", { name: "Tokens at most" }).fill("2000");
    await ask(page, "Count from one to one thousand.");
    await answers(page).getByText("answering").waitFor({ timeout: 120_000 });
    await page.keyboard.press("Escape");
    await answers(page).getByText("stopped").waitFor();
    await page.getByRole("button", { name: "Ask" }).waitFor();
  },

  "shows the hub's refusal at its field, and its own before asking": async (hub) => {
    const page = await hub.open(path);
    await page.getByRole("textbox", { name: "Temperature" }).fill("3");
    await page.getByText("Give a number 0 to 2.").waitFor();
    assert.ok(await page.getByRole("button", { name: "Ask" }).isDisabled());
    await page.getByRole("textbox", { name: "Temperature" }).fill("");
    await part(page, "Output");
    for (const [option, field, text, refusal] of [
      ["JSON schema", "JSON schema", '{"type": "no such type"}', "Invalid type: no such type"],
      ["Regular expression", "Regular expression", "(a", "unclosed group"],
      ["One of these choices", "Choices", "x".repeat(1001), "choice.options[0]: "],
    ] as const) {
      await choose(page, "The answer is", option);
      await page.getByRole("textbox", { name: field }).fill(text);
      await refused(page, page.getByRole("textbox", { name: field }), refusal);
    }
    await page.getByRole("button", { name: "Reset" }).click();
    await part(page, "Token biases");
    await page.getByRole("button", { name: "Add a bias" }).click();
    await page.getByLabel("Token id 1").fill("999999999");
    await page.getByRole("textbox", { name: "Bias 1" }).fill("5");
    await refused(page, page.getByLabel("Token id 1"), "logit_bias names a token beyond");
    await page.getByRole("button", { name: "Reset" }).click();
    await part(page, "Tools");
    await page.getByRole("textbox", { name: "Tools" }).fill(TOOLS);
    await choose(page, "Tool choice", "Must call weather");
    await refused(page, page.getByRole("textbox", { name: "Tools" }), "this model's chat template knows no tools");
    await hub.axe(page);
    await page.getByRole("button", { name: "Reset" }).click();
    await page.getByRole("textbox", { name: "Tools" }).and(page.locator(":not([aria-invalid])")).waitFor(); // what was refused is no longer there
    assert.equal(await page.getByRole("textbox", { name: "Tools" }).inputValue(), "");
    hub.expectErrors(page);
  },

  "holds an answer to a choice, and shows it token by token": async (hub) => {
    const page = await hub.open(path);
    await part(page, "Output");
    await choose(page, "The answer is", "One of these choices");
    await page.getByRole("textbox", { name: "Choices" }).fill("positively yes\nno way");
    await part(page, "Probabilities");
    await page.getByRole("switch", { name: "Log probabilities" }).click();
    await page.getByRole("textbox", { name: "Alternatives" }).fill("3");
    await ask(page, "Is it?");
    await page.getByRole("button", { name: "Token by token" }).click({ timeout: 120_000 });
    const tokens = page.getByRole("listbox", { name: "Tokens" });
    assert.match((await tokens.innerText()).trim(), /^(positively yes|no way)$/);
    await tokens.getByRole("option").first().focus();
    await page.keyboard.press("ArrowRight");
    assert.match((await tokens.locator("[aria-selected=true]").getAttribute("aria-label")) ?? "", / %$/);
    assert.ok((await page.getByRole("table", { name: "Alternatives" }).getByRole("row").count()) > 1);
  },

  "goes on with a tool's result, at its side": async (hub) => {
    const page = await hub.open(`${path}&version2=base`);
    await part(page, "Tools");
    await page.getByRole("textbox", { name: "Tools" }).fill(TOOLS);
    const asked: { messages: object[]; tools: object[] }[] = [];
    await page.route("**/inference/stream", (route) => {
      asked.push(route.request().postDataJSON());
      const again = asked.length > 2;
      const completion = again ? { text: "It rains.", tokens: 3 } : { text: "", tokens: 9, tool_calls: [CALL], finish_reason: "FINISH_REASON_TOOL_CALLS" };
      return route.fulfill({ contentType: "text/event-stream", body: frame(again ? { delta: { text: "It rains.", tokens: 3 } } : { tool_call: CALL }) + frame({ completion }) });
    });
    await ask(page, "How is the weather in Paris?");
    const left = answers(page).first();
    await left.getByText('"city": "Paris",').waitFor();
    await answers(page).nth(1).getByText("asks for tools").waitFor();
    await left.getByLabel("Result of weather").fill('{"rain": true}');
    await hub.axe(page);
    await left.getByRole("button", { name: "Send the result" }).focus();
    await page.keyboard.press("Enter");
    await answers(page).getByText("It rains.").waitFor();
    assert.equal(await answers(page).count(), 3);
    assert.deepEqual(asked[2]!.messages.slice(1), [{ role: "assistant", content: "", tool_calls: [CALL] }, { role: "tool", tool_call_id: "call-1", content: '{"rain": true}' }]);
    assert.deepEqual(asked[2]!.tools, [{ name: "weather", description: "Tells the weather.", parameters: '{"type":"object"}' }]);
  },

  "says that a stream was cut, and shows an error within one": async (hub) => {
    const page = await hub.open(path);
    await told(page, { delta: { text: "Half an", tokens: 2 } });
    await ask(page, "Hello");
    await page.getByText("The stream was cut").waitFor();
    await page.unroute("**/inference/stream");
    await told(page, { delta: { text: "Half", tokens: 1 } }, { error: { code: 14, message: "The engine died.", details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "ENGINE_DIED" }] } });
    await ask(page, "Again");
    await page.getByText("The engine died.").waitFor();
    await hub.axe(page);
    await hub.shot(page, "playground-broken");
  },

  "takes prompts and answers for text, whatever they look like": async (hub) => {
    const page = await hub.open(path);
    const harmless = await guard(page);
    await told(page, ...PAYLOADS.map((text, i) => ({ delta: { text: `${text}\n`, tokens: i + 1 } })), { completion: { text: PAYLOADS.join("\n"), tokens: PAYLOADS.length } });
    await ask(page, PAYLOADS.join("\n"));
    await page.getByText("finish", { exact: true }).or(page.getByText("first token", { exact: true })).first().waitFor();
    assert.equal(await page.locator("[data-prompt]").innerText(), PAYLOADS.join("\n"));
    assert.equal(await page.locator("[data-answer]").last().innerText(), PAYLOADS.join("\n"));
    await harmless("in prompts and answers");
    assert.equal(await page.locator("[data-answer] *, [data-prompt] *").count(), 0);
  },

  "takes tools, calls, results, tokens and choices for text as well": async (hub) => {
    const page = await hub.open(`${path}&version=${encodeURIComponent(PAYLOADS[2]!)}`);
    const harmless = await guard(page);
    const all = PAYLOADS.join("\n");
    await part(page, "Output");
    for (const [option, field] of [["Regular expression", "Regular expression"], ["One of these choices", "Choices"]] as const) {
      await choose(page, "The answer is", option);
      await page.getByRole("textbox", { name: field }).fill(all);
    }
    const details = [{ "@type": "type.googleapis.com/google.rpc.BadRequest", field_violations: [{ field: `choice[${all}]`, description: all }] }];
    await page.route("**/inference/stream", (route) => route.fulfill({ status: 400, json: { code: 3, message: all, details } }));
    await ask(page, "Hello");
    await page.getByText(`choice[${PAYLOADS[0]}`).first().waitFor();
    await literally(page, [all], "in a refusal");
    await harmless("in choices and a refusal");
    await page.unroute("**/inference/stream");
    await choose(page, "The answer is", "Free text");
    await part(page, "Tools");
    await page.getByRole("textbox", { name: "Tools" }).fill(JSON.stringify(PAYLOADS.map((text) => ({ name: text, description: text, parameters: { [text]: text } }))));
    await choose(page, "Tool choice", PAYLOADS[39]!);
    await part(page, "Tools"); // closed, it says what is set
    await page.getByTitle(`40 tools, calls ${PAYLOADS[39]}`).waitFor();
    const calls = PAYLOADS.map((text) => ({ id: text, name: text, arguments: JSON.stringify({ [text]: text }) }));
    const logprobs = PAYLOADS.map((text, id) => ({ token: likely(id, text, 0.5), top: PAYLOADS.map((other, at) => likely(at, other, 0.1)) }));
    await told(page, { completion: { text: all, tokens: 40, tool_calls: calls, logprobs, finish_reason: "FINISH_REASON_TOOL_CALLS" } });
    await ask(page, all);
    const answer = answers(page).last();
    await answer.locator("[data-arguments]").nth(39).waitFor();
    await literally(page, calls.map((call) => JSON.stringify(JSON.parse(call.arguments), null, 2)), "in calls");
    await answer.getByRole("button", { name: "Token by token" }).click();
    await answer.getByRole("option").nth(39).focus();
    assert.deepEqual(await answer.locator("table code").allInnerTexts(), PAYLOADS);
    assert.equal(await page.locator("[data-tokens]").innerText(), PAYLOADS.join(""));
    await answer.getByRole("textbox").first().fill(all);
    await harmless("in calls and tokens");
    await answer.getByRole("button", { name: "Send the results" }).click();
    await page.locator("[data-result]").getByText(PAYLOADS[0]!).waitFor();
    assert.equal(await page.locator("[data-result]").first().innerText(), all);
    await harmless("in results");
    assert.equal(await page.locator("[data-arguments] *, [data-result] *, [data-tokens] * *").count(), 0);
    hub.expectErrors(page); // the browser logs the refusal
  },

  "looks right, empty and with two answers": async (hub) => {
    await hub.review(path, "playground-empty", (page) => page.getByText("Begin a conversation").waitFor());
    await hub.review(`${path}&version2=base`, "playground", async (page) => {
      const words = "The weather in Paris is not known to me, so I ask.\n".match(/\s?\S+|\n/g)!;
      const logprobs = words.map((text, at) => ({ token: likely(at, text, [0.97, 0.72, 0.41, 0.18, 0.04][at % 5]!), top: [likely(at, text, [0.97, 0.72, 0.41, 0.18, 0.04][at % 5]!), likely(100, " else", 0.02), likely(101, "\n", 0.00001)] }));
      await told(page, { completion: { text: words.join(""), tokens: words.length, logprobs, tool_calls: [CALL], prompt_tokens: 31, cached_tokens: 16, ttft_ms: 120, latency_ms: 420, finish_reason: "FINISH_REASON_TOOL_CALLS", generation_id: "shown", provenance: { version: 0 } } });
      await page.getByText("One prompt, two answers").waitFor();
      const settings = page.getByRole("button", { name: "Settings" });
      if (await settings.isVisible()) await settings.click();
      await part(page, "Sampling");
      await part(page, "Probabilities");
      await page.getByRole("switch").click();
      await part(page, "Token biases");
      await page.getByRole("button", { name: "Add a bias" }).click();
      await page.getByLabel("Token id 1").fill("42");
      await page.getByRole("textbox", { name: "Bias 1" }).fill("-3");
      await part(page, "Tools");
      await page.getByRole("textbox", { name: "Tools" }).fill(TOOLS);
      if (await settings.isVisible()) await settings.click();
      await ask(page, "How is the weather in Paris?");
      await page.getByLabel("Result of weather").nth(1).waitFor();
      await page.getByRole("button", { name: "Token by token" }).first().click();
      await page.getByRole("option").nth(4).click();
    });
  },
} satisfies Screen;
