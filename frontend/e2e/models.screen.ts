import assert from "node:assert/strict";
import { BASE_MODEL, prepared, send } from "./data.ts";
import type { Screen } from "./hub.ts";
import { guard, literally, PAYLOADS } from "./payloads.ts";

const LOWER = "METRIC_DIRECTION_LOWER_IS_BETTER";

export default {
  "lists models, shows one, and one version with its lineage": async (hub) => {
    const { model } = await prepared(hub.url);
    await hub.review("/models/", "models", (page) => page.getByRole("link", { name: "ui-tickets" }).waitFor());
    await hub.review(`/models/?id=${model}`, "model", async (page) => {
      await page.getByRole("link", { name: "v1" }).first().waitFor();
      await page.locator(".uplot").first().waitFor();
      await page.getByText(/was evaluated/).first().waitFor(); // in the newest twenty events, however often this runs
    });
    await hub.review(`/models/?id=${model}&version=1`, "version", async (page) => {
      await page.getByRole("list", { name: "Lineage" }).getByRole("link", { name: "ui-tickets" }).waitFor();
      await page.getByText("learning_rate").waitFor();
      await page.getByText("adapters.safetensors").waitFor();
    });
  },

  "keeps its filters in the address": async (hub) => {
    await prepared(hub.url);
    const page = await hub.open("/models/?name=ui-&tag=team%3Dsupport");
    await page.getByRole("link", { name: "ui-tickets" }).waitFor();
    assert.equal(await page.getByLabel("Name begins with").inputValue(), "ui-");
    await page.getByLabel("Name begins with").fill("no-such-name");
    await page.getByText("No model is like that").waitFor();
    assert.equal(new URL(page.url()).searchParams.get("name"), "no-such-name");
    await hub.shot(page, "models-none");
    await page.reload();
    await page.getByText("No model is like that").waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByRole("link", { name: "ui-tickets" }).waitFor();
    assert.equal(new URL(page.url()).search, "");
  },

  "goes by keys from the list to a digest of the lineage": async (hub) => {
    const { model } = await prepared(hub.url);
    const page = await hub.open("/models/?name=ui-tickets");
    await page.getByRole("row").nth(1).focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(`**/models/?id=${model}`);
    await page.goto(`${hub.url}/ui/models/?id=${model}&version=1`);
    const lineage = page.getByRole("list", { name: "Lineage" });
    await lineage.getByRole("link", { name: "ui-tickets" }).focus();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")), "Copy the whole digest");
    assert.equal(await lineage.getByRole("button", { name: "Copy the whole digest" }).count(), 5);
  },

  "creates a model, and shows what is wrong at its field": async (hub) => {
    await send(hub.url, "/models?name_prefix=ui-made").then(({ models }) => Promise.all(models.map(({ id }: { id: number }) => send(hub.url, `/models/${id}`, undefined, "DELETE"))));
    const page = await hub.open("/models/?new=1");
    await page.getByLabel("Name", { exact: true }).fill("Not A Name");
    await page.getByLabel("Base model", { exact: true }).fill(BASE_MODEL);
    await page.getByRole("button", { name: "Create" }).click();
    await page.locator("input[aria-invalid]").waitFor();
    assert.match((await page.getByLabel("Name", { exact: true }).getAttribute("aria-describedby")) ?? "", /hint/);
    await hub.axe(page);
    await hub.shot(page, "models-create");
    hub.expectErrors(page); // the browser logs each refusal
    await page.getByLabel("Name", { exact: true }).fill("ui-made");
    await page.getByLabel("Base model", { exact: true }).fill("not-imported");
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByText(/not-imported/).waitFor();
    hub.expectErrors(page);
    await page.getByLabel("Base model", { exact: true }).fill(BASE_MODEL);
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { name: "ui-made" }).waitFor();
    await page.getByText("No version yet").waitFor();
    await hub.axe(page);
    await hub.shot(page, "model-new");
    await page.getByRole("button", { name: "Delete" }).click();
    const dialog = page.getByRole("dialog");
    assert.equal(await dialog.getByRole("button", { name: "Delete" }).isEnabled(), false);
    await dialog.getByRole("textbox").fill("ui-made");
    await dialog.getByRole("button", { name: "Delete" }).click();
    await page.waitForURL("**/models/");
    await page.getByText("Model ui-made is deleted.").first().waitFor();
  },

  "shows why the gate refuses a promotion, and lets a good one through": async (hub) => {
    const { model, dataset } = await prepared(hub.url);
    const { evaluations } = await send(hub.url, `/models/${model}/evaluations?version=1&metric=val_loss`);
    const measured = (version: string, value: number) =>
      send(hub.url, `/models/${model}/evaluations`, { version, metric: "val_loss", value, dataset_id: dataset, split: "EVALUATION_SPLIT_VALID" });
    await fetch(`${hub.url}/models/${model}/aliases/ui-champion`, { method: "DELETE" });
    await measured("base", evaluations[0].value - 0.5);
    await send(hub.url, `/models/${model}/gate`, { metric: "val_loss", direction: LOWER, tolerance: 0.1, dataset_id: dataset, split: "EVALUATION_SPLIT_VALID", aliases: [] }, "PUT");
    const page = await hub.open(`/models/?id=${model}&version=1`);
    await page.getByRole("button", { name: "Promote" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("A version may take any alias").waitFor();
    const alias = `ui-${Date.now().toString(36)}`;
    await dialog.getByLabel("Alias").fill(alias);
    await dialog.getByRole("button", { name: "Promote" }).click();
    const refused = dialog.getByRole("alert");
    await refused.getByText("The gate refuses").waitFor();
    assert.match(await refused.innerText(), /worse than the base model by 0\.5/);
    assert.match(await refused.innerText(), /let through\s*0\.1/);
    await hub.axe(page);
    await hub.shot(page, "promote-refused");
    hub.expectErrors(page);
    await measured("base", evaluations[0].value + 0.5);
    await dialog.getByRole("button", { name: "Promote" }).click();
    await page.getByText("through the gate: val_loss").first().waitFor();
    await page.goto(`${hub.url}/ui/models/?id=${model}`);
    await page.getByText(`was promoted to ${alias}`).waitFor();
    await page.getByRole("button", { name: `Remove ${alias}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByText(`lost the alias ${alias}`).waitFor();
  },

  "exports a version and gives its files": async (hub) => {
    const { model } = await prepared(hub.url);
    await hub.review(`/models/?id=${model}&version=1`, "export", async (page) => {
      await page.getByRole("button", { name: "Export" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("combobox", { name: "Form" }).click();
      await page.getByRole("option", { name: /PEFT/ }).click();
      await dialog.getByRole("button", { name: "Export" }).click();
      await dialog.getByText("The adapter is in PEFT's form.").waitFor();
      const [file] = await Promise.all([page.waitForEvent("download"), dialog.getByRole("button", { name: "Download adapter_config.json" }).click()]);
      assert.equal(file.suggestedFilename(), "adapter_config.json");
    });
  },

  "verifies, archives and restores a version": async (hub) => {
    const { model } = await prepared(hub.url);
    const page = await hub.open(`/models/?id=${model}&version=1`);
    await page.getByRole("button", { name: "Verify" }).click();
    await page.getByText(/comparisons are right/).waitFor();
    await hub.axe(page);
    await hub.shot(page, "verify");
    await page.keyboard.press("Escape");
    for (const [verb, then] of [["Archive", "archived"], ["Restore", "ready"]] as const) {
      await page.getByRole("button", { name: verb }).click();
      await page.getByRole("dialog").getByRole("button", { name: verb }).click();
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await page.getByRole("main").getByText(then, { exact: true }).first().waitFor();
    }
  },

  "tells what is missing, and stands when the hub is away": async (hub) => {
    const page = await hub.open("/models/?id=987654");
    await page.getByText("There is none:").waitFor();
    await hub.axe(page);
    hub.expectErrors(page);
    await page.route("**/models?*", (route) => route.abort());
    await page.goto(`${hub.url}/ui/models/`);
    await page.getByRole("alert").getByText("The hub does not answer.").waitFor();
    await hub.axe(page);
    await hub.shot(page, "models-offline");
    hub.expectErrors(page);
    await page.unroute("**/models?*");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("table", { name: "Models" }).waitFor();
  },

  "shows forty payloads as text, wherever one can be set": async (hub) => {
    const found = await send(hub.url, "/models?name_prefix=ui-payloads");
    for (const { id } of found.models) await send(hub.url, `/models/${id}`, undefined, "DELETE");
    const tags = Object.fromEntries(PAYLOADS.map((text, index) => [`t${index}`, text]));
    const description = PAYLOADS.slice(0, 30).join("\n").slice(0, 2000);
    const { id } = await send(hub.url, "/models", { name: "ui-payloads", base_model: BASE_MODEL, description, tags });
    const page = await hub.open(`/models/?id=${id}`);
    const safe = await guard(page);
    await page.getByText("Promotion gate", { exact: true }).waitFor();
    await page.getByText("t39").first().waitFor();
    await literally(page, [description, ...PAYLOADS], "in a model's page");
    await safe("in a model's page");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Value of tag 40").waitFor();
    await literally(page, PAYLOADS, "in the form");
    await safe("in the form");
    const list = await hub.open(`/models/?name=${encodeURIComponent(PAYLOADS[0]!)}&tag=${encodeURIComponent(PAYLOADS[2]!)}`);
    const calm = await guard(list);
    await list.getByText("No model is like that").waitFor();
    await literally(list, [PAYLOADS[0]!, PAYLOADS[2]!], "in the filters");
    await calm("in the filters");
  },

  "shows payloads as text in keys of tags and names of aliases, which the hub refuses": async (hub) => {
    const { model } = await prepared(hub.url);
    const page = await hub.open("/");
    const safe = await guard(page);
    const tags = Object.fromEntries(PAYLOADS.map((text) => [text, text]));
    await page.route(`**/models/${model}`, async (route) => (route.request().method() === "GET" ? route.fulfill({ json: { ...(await (await route.fetch()).json()), tags } }) : route.continue()));
    await page.route("**/versions*", async (route) => {
      const { versions, ...rest } = await (await route.fetch()).json();
      await route.fulfill({ json: { ...rest, versions: versions.map((one: object) => ({ ...one, aliases: PAYLOADS })) } });
    });
    await page.goto(`${hub.url}/ui/models/?id=${model}`);
    await page.getByRole("button", { name: `Remove ${PAYLOADS[0]}`, exact: true }).waitFor();
    await literally(page, PAYLOADS, "as aliases and tags");
    await safe("as aliases and tags");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByRole("button", { name: "Save" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("alert").first().waitFor();
    await literally(page, PAYLOADS, "in the refusal of tags");
    await safe("in the refusal of tags");
    await page.keyboard.press("Escape");
    for (const verb of ["Remove", "Roll back"]) {
      await page.getByRole("button", { name: verb === "Remove" ? `Remove ${PAYLOADS[0]}` : `Roll ${PAYLOADS[0]} back`, exact: true }).click();
      await dialog.getByRole("heading").getByText(PAYLOADS[0]!).waitFor();
      await dialog.getByRole("button", { name: verb }).click();
      await dialog.getByRole("alert").waitFor();
      await safe(`in the refusal to ${verb}`);
      await page.keyboard.press("Escape");
    }
    await page.goto(`${hub.url}/ui/models/?id=${model}&version=1`);
    await page.getByRole("button", { name: "Promote" }).click();
    await dialog.getByLabel("Alias").fill(PAYLOADS.join(" "));
    await dialog.getByRole("button", { name: "Promote" }).click();
    await dialog.locator("[aria-invalid]").waitFor();
    await literally(page, [PAYLOADS.join(" ")], "in the refusal to promote");
    await safe("in the refusal to promote");
    hub.expectErrors(page); // the browser logs each refusal
    const asked = await hub.open(`/playground/?model=${model}&version=${encodeURIComponent(PAYLOADS[0]!)}`);
    const calm = await guard(asked);
    await asked.route("**/versions*", async (route) => {
      const { versions, ...rest } = await (await route.fetch()).json();
      await route.fulfill({ json: { ...rest, versions: versions.map((one: object) => ({ ...one, aliases: PAYLOADS })) } });
    });
    await asked.reload();
    await asked.getByRole("combobox", { name: "Model: version" }).click();
    await asked.getByRole("option").nth(40).waitFor();
    await literally(asked, PAYLOADS, "as versions to ask");
    await calm("as versions to ask");
  },

  "shows payloads as text in whatever a hub may answer": async (hub) => {
    const { model } = await prepared(hub.url);
    const all = PAYLOADS.join("\n");
    const page = await hub.open("/");
    const safe = await guard(page);
    await page.route("**/versions/1/samples", (route) => route.fulfill({ json: { samples: PAYLOADS.map((text) => ({ turns: [{ role: text, content: text }], base: { text, tokens: 1, cut: false }, version: { text, tokens: 1, cut: true } })) } }));
    await page.route("**/versions/1/lineage", async (route) => {
      const lineage = await (await route.fetch()).json();
      lineage.model_name = lineage.base_model.name = lineage.base_model.source = lineage.dataset.name = lineage.adapter_digest = all;
      lineage.training.parameters = lineage.training.environment = Object.fromEntries(PAYLOADS.map((text) => [text, text]));
      await route.fulfill({ json: lineage });
    });
    await page.route(`**/models/${model}`, async (route) => route.fulfill({ json: { ...(await (await route.fetch()).json()), name: all, base_model: all } }));
    await page.goto(`${hub.url}/ui/models/?id=${model}&version=1`);
    await page.getByText("Every parameter of the job").waitFor();
    await page.getByText(PAYLOADS[39]!, { exact: true }).first().waitFor();
    await literally(page, [all, ...PAYLOADS], "in a version's page");
    await safe("in a version's page");
  },
} satisfies Screen;
