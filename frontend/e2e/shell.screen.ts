import assert from "node:assert/strict";
import type { Screen } from "./hub.ts";

export default {
  "goes by keys: palette, letters, help": async (hub) => {
    const page = await hub.open("/");
    await page.getByRole("status").filter({ hasText: "Connected" }).waitFor();
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: "Jump to" }).fill("overv");
    await page.getByRole("option", { name: "Overview" }).waitFor();
    await hub.axe(page);
    await hub.shot(page, "palette");
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await hub.axe(page);
    await hub.shot(page, "help");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Tab");
  },

  "keeps the theme over a reload, with no other one before": async (hub) => {
    const page = await hub.open("/", { theme: "dark" });
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), "dark");
    await page.getByRole("button", { name: /Theme: system/ }).click();
    assert.equal(await theme(), "light");
    await page.reload({ waitUntil: "commit" });
    await page.waitForFunction(() => document.body);
    assert.equal(await theme(), "light");
  },

  "says when the hub is away, and when it is back": async (hub) => {
    const page = await hub.open("/");
    await page.getByRole("status").filter({ hasText: "Connected" }).waitFor();
    await page.route("**/health", (route) => route.abort());
    await page.getByText("The hub does not answer.", { exact: false }).first().waitFor();
    await hub.shot(page, "offline");
    await page.unroute("**/health");
    await page.getByText("The hub is back.").first().waitFor();
    hub.expectErrors(page);
  },

  "answers an unknown path by its own page": async (hub) => {
    const page = await hub.open("/nowhere/");
    await page.getByText("There is no such page").waitFor();
    hub.expectErrors(page);
  },

  "asks for a key when the hub wants one, and sends it": async (hub) => {
    const page = await hub.open("/");
    const refusal = { code: 16, message: "a key is needed", details: [] };
    await page.route("**/inference/models", (route) =>
      route.request().headers().authorization === "Bearer a-good-key" ? route.continue() : route.fulfill({ status: 401, json: refusal }),
    );
    await page.getByRole("dialog", { name: "This hub asks for an API key" }).waitFor();
    await hub.axe(page);
    await page.getByLabel("API key", { exact: true }).fill("a-good-key");
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.getByRole("columnheader", { name: "Holder" }).waitFor();
    hub.expectErrors(page);
  },
} satisfies Screen;
