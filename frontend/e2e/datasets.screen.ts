import assert from "node:assert/strict";
import { prepared, rows, send } from "./data.ts";
import type { Screen } from "./hub.ts";
import { guard, literally, PAYLOADS } from "./payloads.ts";

/** Deletes what an earlier run of a check left. */
async function away(url: string, prefix: string): Promise<void> {
  const { datasets } = await send(url, `/datasets?name_prefix=${prefix}`);
  for (const { id } of datasets) await send(url, `/datasets/${id}`, undefined, "DELETE");
}

const file = (text: string, name: string) => ({ name, mimeType: "application/jsonl", buffer: Buffer.from(text) });

export default {
  "lists datasets, and reports on one": async (hub) => {
    const { model, dataset } = await prepared(hub.url);
    await hub.review("/datasets/", "datasets", (page) => page.getByRole("link", { name: "ui-tickets" }).waitFor());
    await hub.review(`/datasets/?id=${dataset}&model=${model}&length=80`, "dataset", async (page) => {
      await page.getByText("cut at 80", { exact: true }).waitFor({ timeout: 120_000 });
      await page.getByText("lines 25–26", { exact: true }).waitFor(); // those that repeat the first two
    });
  },

  "keeps filter and report's questions in the address": async (hub) => {
    const { model, dataset } = await prepared(hub.url);
    const page = await hub.open("/datasets/?name=ui-");
    await page.getByRole("link", { name: "ui-tickets" }).waitFor();
    await page.getByLabel("Name begins with").fill("no-such-name");
    await page.getByText("No dataset begins like that").waitFor();
    assert.equal(new URL(page.url()).searchParams.get("name"), "no-such-name");
    await hub.shot(page, "datasets-none");
    await page.goto(`${hub.url}/ui/datasets/?id=${dataset}&model=${model}`);
    await page.getByRole("heading", { name: "Length of the rows" }).waitFor({ timeout: 120_000 });
    await page.getByLabel("Longest row").fill("7");
    await page.getByRole("button", { name: "Report" }).click();
    await page.locator("input[aria-invalid]").waitFor();
    assert.equal(new URL(page.url()).searchParams.get("length"), "7");
    await hub.axe(page);
    await hub.shot(page, "dataset-refused");
    hub.expectErrors(page); // the browser logs the refusal
  },

  "uploads a file that is dropped: progress, then its report": async (hub) => {
    await away(hub.url, "ui-dropped");
    await prepared(hub.url);
    const page = await hub.open("/datasets/");
    await page.getByRole("table", { name: "Datasets" }).waitFor();
    let go = () => {};
    const held = new Promise<void>((done) => (go = done));
    await page.route("**/datasets:upload*", async (route) => {
      await held;
      await route.continue();
    });
    const data = await page.evaluateHandle((text) => {
      const carried = new DataTransfer();
      carried.items.add(new File([text], "UI dropped.jsonl"));
      return carried;
    }, rows());
    const zone = page.getByRole("button", { name: /Drop/ });
    await zone.dispatchEvent("dragenter", { dataTransfer: data });
    await page.getByText("Drop it to upload").waitFor();
    await zone.dispatchEvent("drop", { dataTransfer: data });
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "ui-dropped");
    await page.getByRole("dialog").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("progressbar", { name: "Upload" }).waitFor();
    await page.getByRole("dialog").getByRole("status").getByText(/sent/).waitFor();
    await hub.axe(page);
    await hub.shot(page, "datasets-upload");
    go();
    await page.getByRole("heading", { name: "ui-dropped" }).waitFor();
    await page.getByRole("heading", { name: "Length of the rows" }).waitFor({ timeout: 120_000 });
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("textbox").fill("ui-dropped");
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.waitForURL("**/datasets/");
    await page.getByText("Dataset ui-dropped is deleted.").first().waitFor();
  },

  "stops an upload, and shows each row that is refused": async (hub) => {
    const page = await hub.open("/datasets/");
    const safe = await guard(page);
    const bad = PAYLOADS.slice(0, 20).map((text) => JSON.stringify({ messages: [{ role: text, content: text }] })).join("\n");
    await page.getByLabel("File to upload").setInputFiles(file(bad, `${PAYLOADS[2]}.jsonl`));
    await page.getByLabel("Name", { exact: true }).fill("ui-refused");
    await page.route("**/datasets:upload*", () => {});
    await page.getByRole("dialog").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("button", { name: "Cancel" }).waitFor();
    await page.unroute("**/datasets:upload*");
    await page.getByRole("dialog").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("alert").getByText("line 1", { exact: true }).waitFor();
    await hub.axe(page);
    await hub.shot(page, "datasets-refused");
    await safe("in the refusal");
    await literally(page, [`${PAYLOADS[2]}.jsonl`], "the file's name");
    hub.expectErrors(page); // the browser logs the stop and the refusal
  },

  "registers by path, and shows what is wrong with it at its field": async (hub) => {
    const page = await hub.open("/datasets/");
    await page.getByRole("button", { name: "By path" }).click();
    await page.getByLabel("Path").fill("nowhere/none.jsonl");
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "none");
    await page.getByRole("button", { name: "Register" }).click();
    await page.locator("input[aria-invalid]").waitFor();
    await hub.axe(page);
    await hub.shot(page, "datasets-register");
    hub.expectErrors(page); // the browser logs the refusal
  },

  "tells what is missing, and stands when the hub is away": async (hub) => {
    const page = await hub.open("/datasets/?id=987654");
    await page.getByText("There is none:").waitFor();
    hub.expectErrors(page);
    await page.route("**/datasets?*", (route) => route.abort());
    await page.goto(`${hub.url}/ui/datasets/`);
    await page.getByRole("alert").getByText("The hub does not answer.").waitFor();
    await hub.axe(page);
    await hub.shot(page, "datasets-offline");
    hub.expectErrors(page);
    await page.unroute("**/datasets?*");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("table", { name: "Datasets" }).waitFor();
  },

  "shows payloads as text in whatever a hub may answer": async (hub) => {
    const { model, dataset } = await prepared(hub.url);
    const all = PAYLOADS.join("\n");
    const page = await hub.open("/");
    const safe = await guard(page);
    await page.route(`**/datasets/${dataset}`, async (route) => route.fulfill({ json: { ...(await (await route.fetch()).json()), name: all, path: all, checksum: all } }));
    await page.route("**/report?*", async (route) => {
      const report = await (await route.fetch()).json();
      report.base_model.name = report.refusal = all;
      report.warnings = PAYLOADS.map((text) => ({ code: text, text }));
      await route.fulfill({ json: report });
    });
    await page.route(`**/datasets/${dataset}/file`, (route) => route.fulfill({ body: JSON.stringify({ messages: PAYLOADS.map((text) => ({ role: text, content: text })) }) }));
    await page.goto(`${hub.url}/ui/datasets/?id=${dataset}&model=${model}`);
    await page.getByText(PAYLOADS[39]!, { exact: true }).first().waitFor({ timeout: 120_000 });
    await page.getByRole("listitem").filter({ hasText: PAYLOADS[0]! + PAYLOADS[0]! }).first().waitFor();
    await literally(page, [all, ...PAYLOADS], "in a dataset's page");
    await safe("in a dataset's page");
  },
} satisfies Screen;
