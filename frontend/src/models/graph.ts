import type { Schemas } from "@/api";
import { duration, number, word } from "@/lib/format";

export type Kind = "dataset" | "base" | "code" | "lock" | "recipe" | "job" | "source" | "import" | "version";

/** One thing that a version was made from, or the version itself. */
export interface Node {
  id: Kind;
  /** How far from the beginning: 0 came first. */
  layer: number;
  label: string;
  title: string;
  href?: string;
  digest?: string;
  note?: string;
  warn?: boolean;
}
export interface Edge { from: Kind; to: Kind }
export interface Graph { nodes: Node[]; edges: Edge[] }

/** A version's lineage as things and what came of them, down to the digests. */
export function graphOf(lineage: Schemas["Lineage"]): Graph {
  const base = lineage.base_model;
  const made = lineage.training ? trained(lineage, lineage.training) : imported(lineage);
  const first: Node[] = base ? [{ id: "base", layer: 0, label: "Base model", title: base.name, digest: base.digest, note: base.source || undefined }] : [];
  const nodes = [...made.inputs.slice(0, 1), ...first, ...made.inputs.slice(1), made.maker, {
    id: "version" as const, layer: 2, label: "Version", title: `${lineage.model_name} v${lineage.version}`, digest: lineage.adapter_digest,
    note: `${lineage.files.length} files`,
  }];
  const edges = nodes.filter(({ layer }) => layer === 0).map(({ id }): Edge => ({ from: id, to: made.maker.id }));
  return { nodes, edges: [...edges, { from: made.maker.id, to: "version" }] };
}

interface Made { inputs: Node[]; maker: Node }

function trained({ dataset }: Schemas["Lineage"], training: Schemas["TrainingProvenance"]): Made {
  const inputs: Node[] = [];
  if (dataset)
    inputs.push({
      id: "dataset", layer: 0, label: "Dataset", title: dataset.name, href: `/datasets/?id=${dataset.id}`, digest: dataset.digest,
      note: `${number(dataset.train_rows)} rows, ${number(dataset.valid_rows + dataset.test_rows)} held out`,
    });
  inputs.push(
    training.code_commit
      ? { id: "code", layer: 0, label: "Code", title: "Commit", digest: training.code_commit, note: training.code_dirty ? "uncommitted changes" : undefined, warn: training.code_dirty }
      : { id: "code", layer: 0, label: "Code", title: "No commit", note: "it ran outside a checkout" },
    { id: "lock", layer: 0, label: "Packages", title: "requirements.lock", digest: training.lock_digest, note: training.environment.python && `Python ${training.environment.python}` },
    { id: "recipe", layer: 0, label: "Recipe", title: `Seed ${training.seed}`, note: `${Object.keys(training.parameters).length} parameters, below` },
  );
  const seconds = (Date.parse(training.finished_at ?? "") - Date.parse(training.started_at ?? "")) / 1000;
  const took = Number.isFinite(seconds) ? `took ${duration(seconds)}` : undefined;
  const tries = training.attempt > 1 ? `attempt ${training.attempt}` : undefined;
  return {
    inputs,
    maker: { id: "job", layer: 1, label: "Training job", title: `Job ${training.job_id}`, href: `/training/?id=${training.job_id}`, note: [tries, took].filter(Boolean).join(", ") },
  };
}

function imported({ imported: from }: Schemas["Lineage"]): Made {
  return {
    inputs: [{ id: "source", layer: 0, label: "Source", title: from?.source || "unknown", note: from?.stated_base ? `states ${from.stated_base}` : undefined }],
    maker: { id: "import", layer: 1, label: "Import", title: word(from?.format, "ADAPTER_FORMAT") || "adapter", note: from?.imported_by ? `by ${from.imported_by}` : undefined },
  };
}

export const BOX = { height: 88, gap: 12, between: 72, rail: 24 } as const;
const MOST_WIDE = 320;

export interface Place { x: number; y: number; width: number }
export interface Drawing { places: Record<string, Place>; paths: { from: string; to: string; d: string }[]; height: number }

/** Places boxes in `width` pixels: layers side by side, or one below the other where that is too narrow. */
export function layout({ nodes, edges }: Graph, width: number): Drawing {
  const layers = [...new Set(nodes.map(({ layer }) => layer))].sort((a, b) => a - b);
  const across = (width - BOX.between * (layers.length - 1)) / layers.length;
  return across >= 180 ? sideways(nodes, edges, layers, width) : downwards(nodes, edges, width);
}

const pitch = BOX.height + BOX.gap;

function sideways(nodes: readonly Node[], edges: readonly Edge[], layers: readonly number[], width: number): Drawing {
  const box = Math.min(MOST_WIDE, (width - BOX.between * (layers.length - 1)) / layers.length);
  const between = layers.length > 1 ? (width - box * layers.length) / (layers.length - 1) : 0;
  const columns = layers.map((layer) => nodes.filter((node) => node.layer === layer));
  const height = Math.max(...columns.map(({ length }) => length)) * pitch - BOX.gap;
  const places: Record<string, Place> = {};
  for (const [index, column] of columns.entries()) {
    const top = (height - (column.length * pitch - BOX.gap)) / 2;
    for (const [row, { id }] of column.entries()) places[id] = { x: index * (box + between), y: top + row * pitch, width: box };
  }
  const paths = edges.map(({ from, to }) => {
    const [a, b] = [places[from]!, places[to]!];
    const [x1, y1, x2, y2] = [a.x + a.width, a.y + BOX.height / 2, b.x, b.y + BOX.height / 2];
    const half = (x1 + x2) / 2;
    return { from, to, d: `M${x1} ${y1}C${half} ${y1} ${half} ${y2} ${x2} ${y2}` };
  });
  return { places, paths, height };
}

/** A rail at the left joins what came first with what came of it. */
function downwards(nodes: readonly Node[], edges: readonly Edge[], width: number): Drawing {
  const places: Record<string, Place> = {};
  for (const [row, { id }] of [...nodes].sort((a, b) => a.layer - b.layer).entries())
    places[id] = { x: BOX.rail, y: row * pitch, width: width - BOX.rail };
  const paths = edges.map(({ from, to }) => {
    const [y1, y2] = [places[from]!.y + BOX.height / 2, places[to]!.y + BOX.height / 2];
    return { from, to, d: `M${BOX.rail} ${y1}H16Q8 ${y1} 8 ${y1 + 8}V${y2 - 8}Q8 ${y2} 16 ${y2}H${BOX.rail}` };
  });
  return { places, paths, height: nodes.length * pitch - BOX.gap };
}
