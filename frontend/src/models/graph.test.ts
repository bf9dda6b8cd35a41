import type { Schemas } from "@/api";
import { BOX, graphOf, layout } from "./graph";
import { metricsOf } from "./Versions";
import { verdict, tell } from "./tell";

const LINEAGE = {
  model_id: 1, model_name: "tickets", version: 2, adapter_digest: "aa", files: [{ name: "a", size_bytes: 1, sha256: "bb" }],
  base_model: { name: "tiny", digest: "cc", source: "here", source_revision: "" },
  dataset: { id: 4, name: "rows", digest: "dd", train_rows: 10, valid_rows: 2, test_rows: 1, split_seed: 0, validation_fraction: 0.1, test_fraction: 0 },
  training: {
    job_id: 7, attempt: 2, seed: 42, parameters: { epochs: "1" }, code_commit: "ee", code_dirty: true, lock_digest: "ff", environment: { python: "3.12" },
    started_at: "2026-01-01T00:00:00Z", finished_at: "2026-01-01T00:00:30Z", attempts: [],
  },
} satisfies Schemas["Lineage"];

it("goes from data, base, code, packages and recipe over the job to the version", () => {
  const { nodes, edges } = graphOf(LINEAGE);
  expect(nodes.map(({ id, digest }) => [id, digest])).toEqual([
    ["dataset", "dd"], ["base", "cc"], ["code", "ee"], ["lock", "ff"], ["recipe", undefined], ["job", undefined], ["version", "aa"],
  ]);
  expect(edges.filter(({ to }) => to === "job")).toHaveLength(5);
  expect(edges.at(-1)).toEqual({ from: "job", to: "version" });
  expect(nodes.find(({ id }) => id === "code")).toMatchObject({ warn: true });
  expect(nodes.find(({ id }) => id === "job")).toMatchObject({ note: "attempt 2, took 30 s", href: "/training/?id=7" });
});

it("tells an import's source instead of a job", () => {
  const { nodes } = graphOf({ ...LINEAGE, dataset: undefined, training: undefined, imported: { format: "ADAPTER_FORMAT_PEFT", source: "peft-folder", source_files: [], pin: "BASE_PIN_NAME", stated_base: "tiny", imported_by: "me", environment: {} } as unknown as Schemas["ImportProvenance"] });
  expect(nodes.map(({ id }) => id)).toEqual(["source", "base", "import", "version"]);
});

it.each([1088, 900, 700, 358, 300])("keeps boxes apart and inside %d pixels, and edges between them", (width) => {
  const graph = graphOf(LINEAGE);
  const { places, paths, height } = layout(graph, width);
  const boxes = graph.nodes.map(({ id }) => places[id]!);
  for (const [i, a] of boxes.entries()) {
    expect(a.x).toBeGreaterThanOrEqual(0);
    expect(a.x + a.width).toBeLessThanOrEqual(width + 0.01);
    expect(a.y + BOX.height).toBeLessThanOrEqual(height + 0.01);
    for (const b of boxes.slice(i + 1))
      expect(a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + BOX.height <= b.y || b.y + BOX.height <= a.y).toBe(true);
  }
  expect(paths).toHaveLength(graph.edges.length);
  for (const { d } of paths) expect(d).not.toMatch(/NaN|undefined/);
  expect(width < 684).toBe(boxes.every(({ x }) => x === boxes[0]!.x));
});

it("picks the metrics that are compared first, then those that most versions have", () => {
  const version = (metrics: Record<string, number>) => ({ metrics }) as Schemas["ModelVersion"];
  expect(metricsOf([version({ a: 1, loss: 1, b: 2 }), version({ b: 1, val_loss: 3 })], 3)).toEqual(["val_loss", "loss", "b"]);
});

it("tells what the gate compared", () => {
  const facts = { alias: "champion", metric: "val_loss", value: "1.25", reference: "1", reference_value: "1.3", tolerance: "0.1", from: "1" };
  expect(verdict(facts)).toBe("through the gate: val_loss 1.25 against 1.3 of v1, tolerance 0.1");
  expect(verdict({ ...facts, reference: "base" })).toContain("of the base model");
  expect(verdict({ alias: "champion" })).toBeUndefined();
  expect(tell({ type: "MODEL_EVENT_TYPE_PROMOTED", version: 2, details: facts })).toEqual({
    text: "was promoted to champion", more: "through the gate: val_loss 1.25 against 1.3 of v1, tolerance 0.1 · before: v1",
  });
});
