import assert from "node:assert/strict";
import { createServer, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Hub, Screen } from "./hub.ts";
import { guard, PAYLOADS } from "./payloads.ts";

const ROWS = Array.from({ length: 4 }, (_, i) => JSON.stringify({ messages: [{ role: "user", content: `Say ${i}.` }, { role: "assistant", content: `It is ${i}.` }] }));

async function ask(hub: Hub, path: string, body?: object | string): Promise<Record<string, never> & { id: number }> {
  const answer = await fetch(`${hub.url}${path}`, body === undefined ? {} : { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return (await answer.json()) as never;
}

/** A model and a dataset of this run's own. */
async function ground(hub: Hub) {
  const name = `ui-training-${Date.now().toString(36)}`;
  const model = await ask(hub, "/models", { name, base_model: "smollm2-135m-instruct" });
  const dataset = await ask(hub, `/datasets:upload?name=${name}`, `${ROWS.join("\n")}\n`);
  return { name, model: model.id, dataset: dataset.id };
}

/** A way to the hub that can be cut: what is under way ends, and what comes after is served again. */
async function through(hub: Hub) {
  const open = new Set<ServerResponse>();
  const { host, hostname, port } = new URL(hub.url);
  const server = createServer((asked, answer) => {
    const headers = { ...asked.headers, host, ...(asked.headers.origin && { origin: hub.url }) };
    const onward = request({ hostname, port, path: asked.url, method: asked.method, headers }, (found) => {
      answer.writeHead(found.statusCode ?? 502, found.headers);
      found.on("error", () => answer.destroy()).pipe(answer);
    });
    open.add(answer.on("close", () => { open.delete(answer); onward.destroy(); }));
    asked.pipe(onward.on("error", () => answer.destroy()));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  server.unref();
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cut: () => open.forEach((answer) => answer.destroy()) };
}

let made: Awaited<ReturnType<typeof ground>> & { job?: number };

export default {
  "trains from the form to the version, seen live; says when the stream is away": async (hub) => {
    made = await ground(hub);
    const way = await through(hub);
    const page = await hub.open("/");
    await page.goto(`${way.url}/ui/training/?new=1`);
    await page.getByRole("combobox", { name: "Model" }).click();
    await page.getByRole("option", { name: made.name }).click();
    await page.getByRole("combobox", { name: "Dataset" }).click();
    await page.getByRole("option", { name: made.name }).click();
    await page.getByText("Made for batches of").waitFor();
    await page.getByRole("textbox", { name: "Epochs" }).fill("1001");
    await page.getByText("Give a number 1 to 1000.").waitFor();
    assert.ok(await page.getByRole("button", { name: "Start training" }).isDisabled());
    await page.getByRole("textbox", { name: "Epochs" }).fill("2");
    await page.getByRole("textbox", { name: "Batch size" }).fill("1");
    await page.getByRole("textbox", { name: "Longest row" }).fill("64");
    await page.getByText("Data and evaluation").click();
    await page.getByRole("textbox", { name: "Validation part" }).fill("0.5");
    await page.getByRole("textbox", { name: "Test part" }).fill("0.5");
    await page.getByText("may be 0.9 together").first().waitFor(); // the hub's own word, not the form's
    assert.equal(await page.getByRole("textbox", { name: "Test part" }).getAttribute("aria-invalid"), "true");
    await page.getByRole("textbox", { name: "Validation part" }).fill("0.25");
    await page.getByRole("textbox", { name: "Test part" }).fill("0");
    await page.getByRole("textbox", { name: "Samples" }).fill("0");
    await page.getByText("Made for batches of").waitFor();
    await hub.axe(page);
    hub.expectErrors(page);
    await page.getByRole("button", { name: "Start training" }).click();
    await page.waitForURL(/\?id=\d+/);
    made.job = Number(new URL(page.url()).searchParams.get("id"));
    await page.getByText("Live", { exact: true }).waitFor();

    // The stream is cut under it: it polls and says so, and is live again once it can be.
    way.cut();
    await page.getByText(/^The live stream is away/).waitFor();
    await hub.axe(page);
    await hub.shot(page, "training-polling");
    await page.getByText(/^The live stream is away/).waitFor({ state: "detached" });
    await page.getByText("It made").waitFor({ timeout: 180_000 });
    await page.getByText("The job is completed").waitFor();
    await page.getByText(/^Step (\d+) of \1$/).waitFor();
    await page.getByRole("link", { name: `version 1 of ${made.name}` }).waitFor();
    hub.expectErrors(page);
  },

  "cancels a job, and retries it": async (hub) => {
    const job = await ask(hub, "/training/jobs", { model_id: made.model, dataset_id: made.dataset, epochs: 1000, batch_size: 1, samples: 0, evaluate: false });
    const page = await hub.open(`/training/?id=${job.id}`);
    const cancel = async () => {
      await page.getByRole("button", { name: "Cancel" }).first().click();
      await page.getByRole("button", { name: "Cancel the job" }).click();
      await page.getByRole("button", { name: "Retry" }).waitFor({ timeout: 60_000 });
      await page.getByText("The job is cancelled").first().waitFor();
    };
    await cancel();
    await page.getByRole("button", { name: "Retry" }).click();
    await page.getByText(`Job ${job.id} waits again.`).first().waitFor();
    await page.getByRole("button", { name: "Retry" }).waitFor({ state: "detached" });
    await cancel();
  },

  "replays a job to its verdict": async (hub) => {
    const page = await hub.open(`/training/?id=${made.job}`);
    await page.getByRole("button", { name: "Replay" }).click();
    await page.waitForURL((url) => url.searchParams.get("id") !== String(made.job));
    await page.getByRole("heading", { name: /^Verdict the same$/ }).waitFor({ timeout: 180_000 });
    await page.getByRole("button", { name: "Copy the whole digest" }).first().waitFor();
    await hub.axe(page);
    await hub.shot(page, "training-verdict");
  },

  "looks right: the list, the form, a job": async (hub) => {
    await hub.review("/training/", "training", (page) => page.getByRole("link", { name: new RegExp(made.name) }).first().waitFor());
    await hub.review(`/training/?new=1&model=${made.model}&dataset=${made.dataset}`, "training-new", (page) => page.getByText("Made for batches of").waitFor());
    await hub.review(`/training/?id=${made.job}`, "training-job", async (page) => {
      await page.getByText("The job is completed").waitFor();
      await page.locator(".uplot").nth(3).waitFor();
      await page.getByRole("log").getByText("attempt 1 begins").waitFor();
    });
  },

  "keeps its filters in the address, and says when nothing fits": async (hub) => {
    const page = await hub.open(`/training/?status=failed&model=${made.model}`);
    await page.getByText("No such job").waitFor();
    await page.getByRole("button", { name: "Show all jobs" }).click();
    await page.getByRole("row").nth(1).waitFor();
    await page.getByRole("combobox", { name: "State" }).click();
    await page.getByRole("option", { name: "completed" }).click();
    await page.waitForURL((url) => url.search === "?status=completed");
  },

  "says that a job is not there": async (hub) => {
    const page = await hub.open("/training/?id=2147483647");
    await page.getByText("JOB_NOT_FOUND").waitFor();
    hub.expectErrors(page);
  },

  "scrolls 100,000 log lines, which are text whatever they look like": async (hub) => {
    const page = await hub.open("/");
    const harmless = await guard(page);
    const line = (sequence: number) => ({ sequence, attempt: 1, level: "TRAINING_LOG_LEVEL_INFO", source: "TRAINING_LOG_SOURCE_WORKER", message: `${PAYLOADS[sequence % PAYLOADS.length]} ${sequence}`, created_at: new Date(0).toISOString() });
    await page.route(/\/logs\?/, (route) => {
      const query = new URL(route.request().url()).searchParams;
      const after = query.get("newest_first") === "true" ? 99_999 : Number(query.get("after_sequence") ?? 0);
      const count = Math.min(Number(query.get("page_size")), 100_000 - after);
      return route.fulfill({ json: { lines: Array.from({ length: count }, (_, i) => line(after + i + 1)) } });
    });
    await page.route(/\/logs:tail/, (route) => route.fulfill({ contentType: "text/event-stream", body: `data: ${JSON.stringify({ ended: { id: made.job } })}\n\n` }));
    await page.goto(`${hub.url}/ui/training/?id=${made.job}`);
    await page.getByText("100,000 lines").waitFor();
    const log = page.getByRole("log");
    await log.getByText(`${PAYLOADS[0]} 100000`).waitFor();
    await page.getByRole("button", { name: "Following" }).click();
    const longest = await log.evaluate(async (box) => {
      let slow = 0;
      for (let i = 0; i < 40; i += 1) {
        const began = performance.now();
        box.scrollTop = (box.scrollHeight / 40) * i;
        await new Promise(requestAnimationFrame);
        slow = Math.max(slow, performance.now() - began);
      }
      box.scrollTop = box.scrollHeight / 2;
      return slow;
    });
    await log.getByText(/ 50001$/).waitFor();
    assert.ok((await log.locator("div").count()) < 300, "only what is seen is drawn");
    assert.ok(longest < 500, `a frame took ${longest} ms`);
    await harmless("in the log");
  },
} satisfies Screen;
