import { screen, within } from "@testing-library/react";
import { parse } from "@/api/prometheus";
import { answer, renderInShell } from "../../test/hub";
import { Events } from "./Events";
import { budgetOf, Memory, partsOf } from "./Memory";
import { Queue } from "./Queue";
import { Services } from "./Services";
import { speeds } from "./Speed";

afterEach(() => vi.restoreAllMocks());

const METRICS = `mlx_hub_memory_budget_bytes{service="registry"} 10e9
mlx_hub_memory_free_bytes{service="registry"} 4e9
mlx_hub_memory_leased_bytes{service="registry",holder="engine"} 3e9
mlx_hub_memory_leased_bytes{service="registry",holder="job"} 1e9
mlx_hub_inference_running{service="inference"} 2
mlx_hub_inference_waiting{service="inference"} 5
mlx_hub_training_running{service="trainer"} 0
process_start_time_seconds{service="registry"} ${Date.now() / 1000 - 7200}
process_resident_memory_bytes{service="registry"} 1e8
`;
const sample = (time: number, text: string) => ({ time, metrics: parse(text) });

it("tells the leases, what others keep and what is free of the budget", () => {
  const budget = budgetOf(sample(0, METRICS))!;
  expect(partsOf(budget).map(({ label, value }) => [label, value])).toEqual([["Engines", 3e9], ["Training", 1e9], ["Other programs", 2e9], ["Free", 4e9]]);
  expect(budgetOf(sample(0, 'mlx_hub_memory_budget_bytes{service="registry"} 1'))).toBeUndefined();
});

it("shows each engine's forecast and peak beneath the budget", async () => {
  answer({ "/metrics": METRICS, "/inference/models": { engines: [{ base_model: "smol", state: "ENGINE_STATE_READY", forecast_bytes: 3e9, peak_bytes: 2e9, active_bytes: 1e9, forecast_error: -0.333 }] } });
  renderInShell(<Memory />);
  const row = await screen.findByRole("row", { name: /smol/ });
  for (const text of ["ready", "3.0 GB", "2.0 GB", "1.0 GB", "−33 %"]) expect(row).toHaveTextContent(text);
  expect(await screen.findByText("4.0 GB of 10.0 GB may be taken")).toBeVisible();
});

it("names an engine's draft model, and what speaks against the setting", async () => {
  const reason = "there is no base model smlo; import it, or name another";
  const engines = [{ base_model: "big", state: "ENGINE_STATE_READY", draft_model: "smol" }, { base_model: "other", state: "ENGINE_STATE_READY" }];
  answer({ "/metrics": METRICS, "/inference/models": { engines, draft_pairs: [{ base_model: "big", draft_model: "smol" }, { base_model: "smlo", draft_model: "smol", reason }] } });
  renderInShell(<Memory />);
  expect(await screen.findByRole("row", { name: /big/ })).toHaveTextContent("draft model smol");
  expect(screen.getByRole("row", { name: /other/ })).not.toHaveTextContent("draft model");
  expect(screen.getByText(reason)).toBeVisible();
});

it("shows the budget although the engines are refused, and says why", async () => {
  answer({ "/metrics": METRICS, "/inference/models": () => Response.json({ code: 14, message: "inference is away", details: [] }, { status: 503 }) });
  renderInShell(<Memory />);
  expect(await screen.findByRole("alert")).toHaveTextContent("inference is away");
  expect(await screen.findByRole("figure", { name: "Memory budget" })).toHaveTextContent("Engines3.0 GB");
});

it("tells each service's state, age and memory", async () => {
  answer({ "/metrics": METRICS, "/health": { services: [{ name: "registry", status: "SERVING_STATUS_SERVING" }, { name: "trainer", status: "SERVING_STATUS_NOT_SERVING" }] } });
  renderInShell(<Services />);
  const part = (name: string) => within(screen.getByRole("region", { name }));
  expect(await part("registry").findByText("up 2 h · 100 MB of memory")).toBeVisible();
  expect(await part("registry").findByText("serving")).toBeVisible();
  expect(part("trainer").getByText("not serving")).toBeVisible();
  expect(part("inference").getByText("no measurements")).toBeVisible();
});

it("counts answers and jobs, and shows once a job that both lists have", async () => {
  answer({ "/metrics": METRICS, "/training/jobs": { jobs: [{ id: 4, status: "JOB_STATUS_RUNNING", progress: { step: 5, total_steps: 20 } }] } });
  renderInShell(<Queue />);
  expect(await screen.findByRole("progressbar", { name: "Progress of job 4" })).toHaveAttribute("aria-valuenow", "25");
  expect(screen.getByText("Answers waiting").parentElement).toHaveTextContent("5");
});

it("orders what happened to jobs and models, newest first", async () => {
  answer({
    "/models": { models: [{ id: 1, name: "triage", updated_at: "2026-01-03T00:00:00Z" }] },
    "/models/1/history": { events: [{ id: 9, type: "MODEL_EVENT_TYPE_PROMOTED", version: 2, created_at: "2026-01-03T00:00:00Z", details: { alias: "production" } }] },
    "/training/jobs": { jobs: [{ id: 4, model_id: 1, status: "JOB_STATUS_COMPLETED", finished_at: "2026-01-02T00:00:00Z" }] },
  });
  renderInShell(<Events />);
  const links = await screen.findAllByRole("link");
  expect(links.map((link) => link.getAttribute("href")?.replace("/?", "?"))).toEqual(["/models?id=1", "/training?id=4"]); // Next puts the slash in when it builds
  expect(links[0]).toHaveTextContent("Version 2 of triage promoted as production");
  expect(links[1]).toHaveTextContent("Job 4 for triagecompleted");
});

it("says how to begin where nothing has happened, and why it knows nothing", async () => {
  const fetched = answer({ "/models": { models: [] }, "/training/jobs": { jobs: [] } });
  const first = renderInShell(<Events />);
  expect(await screen.findByText("Nothing has happened yet")).toBeVisible();
  first.unmount();
  fetched.mockRejectedValue(new TypeError("gone"));
  renderInShell(<Events />);
  expect(await screen.findByRole("alert")).toHaveTextContent("The hub does not answer.");
});

it("draws tokens of unfinished answers, and no time to first token where none came", () => {
  const looks = [0, 2, 4].map((time) => sample(time, `mlx_hub_engine_generated_tokens_total{base_model="a"} ${time * 30}`));
  expect(speeds(looks)).toMatchObject({ x: [2, 4], generated: [30, 30], trained: [0, 0], median: [null, null] });
});
