import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import type { Hub, Screen } from "./hub.ts";
import { guard, PAYLOADS } from "./payloads.ts";

let path = "";

/** A model of this run's own, over the starter: it answers before it was ever trained. */
async function model(hub: Hub): Promise<string> {
  const body = JSON.stringify({ name: `ui-playground-${Date.now().toString(36)}`, base_model: "smollm2-135m-instruct" });
  const answer = await fetch(`${hub.url}/models`, { method: "POST", body });
  assert.ok(answer.ok, await answer.clone().text());
  return `/playground/?model=${((await answer.json()) as { id: number }).id}`;
}

const frame = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
const answers = (page: Page) => page.getByRole("article");

/** Answers every question by these frames; for what the hub itself can't be made to do. */
const told = (page: Page, ...frames: object[]) =>
  page.route("**/inference/stream", (route) => route.fulfill({ contentType: "text/event-stream", body: frames.map(frame).join("") }));

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
    await page.getByLabel("JSON schema").fill('{"type": "no such type"}');
    await ask(page, "Hello");
    await answers(page).getByRole("alert").waitFor({ timeout: 120_000 });
    assert.equal(await page.getByLabel("JSON schema").getAttribute("aria-invalid"), "true");
    await page.getByText("Invalid type: no such type").nth(1).waitFor(); // in the answer, and at the field
    hub.expectErrors(page);
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

  "looks right, empty and with two answers": async (hub) => {
    await hub.review(path, "playground-empty", (page) => page.getByText("Begin a conversation").waitFor());
    await hub.review(`${path}&version2=base`, "playground", async (page) => {
      await told(page, { delta: { text: "The identity team looks after sign-in.", tokens: 8 } }, { completion: { text: "The identity team looks after sign-in.", tokens: 8, prompt_tokens: 31, cached_tokens: 16, ttft_ms: 120, latency_ms: 420, finish_reason: "FINISH_REASON_STOP", generation_id: "shown", provenance: { version: 0 } } });
      await ask(page, "Nobody in our company can sign in since this morning. What now?");
      await page.getByRole("button", { name: "Why did it say that?" }).nth(1).waitFor();
    });
  },
} satisfies Screen;
