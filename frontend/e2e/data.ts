/** What the checks of models and datasets need in the hub; made once, and found again by its name. */

import { readFileSync } from "node:fs";

const ROWS = readFileSync(new URL("../../examples/ticket-triage.jsonl", import.meta.url), "utf8").trim().split("\n");
const NAME = "ui-tickets";
const WAIT_SECONDS = 300;

export interface Made { model: number; dataset: number }

/** Sends JSON, or text as it is, and gives the answer; throws on a refusal. */
export async function send(url: string, path: string, body?: unknown, method = body === undefined ? "GET" : "POST") {
  const text = typeof body === "string";
  const reply = await fetch(url + path, {
    method,
    headers: { "content-type": text ? "application/x-ndjson" : "application/json" },
    ...(body === undefined ? {} : { body: text ? body : JSON.stringify(body) }),
  });
  const said = await reply.json();
  if (!reply.ok) throw new Error(`${method} ${path}: ${JSON.stringify(said)}`);
  return said;
}

/** Twenty-four tickets, two of them twice. */
export const rows = () => [...ROWS.slice(0, 24), ROWS[0], ROWS[1]].map((row) => `${row}\n`).join("");

/** A base model that is imported: every model of this hub stands on one. */
export const BASE_MODEL = "smollm2-135m-instruct";

let made: Promise<Made> | undefined;

/** A model with a trained version, and the dataset that it was trained on. */
export const prepared = (url: string) => (made ??= prepare(url));

async function prepare(url: string): Promise<Made> {
  const model = await one(url, "models", () => send(url, "/models", {
    name: NAME, base_model: BASE_MODEL, description: "Routes support tickets to the team that can help.", tags: { team: "support", stage: "trial" },
  }));
  const dataset = await one(url, "datasets", () => send(url, `/datasets:upload?name=${NAME}`, rows()));
  const { versions } = await send(url, `/models/${model}/versions`);
  if (!versions.length) await train(url, model, dataset);
  return { model, dataset };
}

async function one(url: string, noun: "models" | "datasets", make: () => Promise<{ id: number }>): Promise<number> {
  const found = (await send(url, `/${noun}?name_prefix=${NAME}`))[noun].find(({ name }: { name: string }) => name === NAME);
  return (found ?? (await make())).id;
}

async function train(url: string, model_id: number, dataset_id: number): Promise<void> {
  const recipe = { epochs: 1, batch_size: 4, lora_rank: 4, learning_rate: 0.0003, seed: 42, validation_fraction: 0.2 };
  const { id } = await send(url, "/training/jobs", { model_id, dataset_id, ...recipe });
  for (let second = 0; second < WAIT_SECONDS; second += 1) {
    const { status } = await send(url, `/training/jobs/${id}`);
    if (status === "JOB_STATUS_COMPLETED") return;
    if (/FAILED|CANCELLED/.test(status)) throw new Error(`job ${id} is ${status}`);
    await new Promise((done) => setTimeout(done, 1000));
  }
  throw new Error(`job ${id} did not end`);
}
