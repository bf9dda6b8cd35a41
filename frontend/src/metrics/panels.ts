import { labelled, quantile, rate, type Sample, sum } from "@/api";
import { bytes, duration, number, percent, short } from "@/lib/format";

/** One look at a panel's lines, by label; null where nothing is known. */
export type Point = Readonly<Record<string, number | null>>;

/** A look, one of some seconds before for rates, and one of half a minute before for quantiles. */
export interface Looks { now: Sample; before: Sample; earlier: Sample }

export interface Panel {
  title: string;
  hint: string;
  /** Said while no line has a value. */
  empty: string;
  format: (value: number) => string;
  point: (looks: Looks) => Point;
  /** The y axis need not begin at 0. */
  floats?: boolean;
}

export interface Section { title: string; panels: readonly Panel[] }

const SERVICES = ["registry", "trainer", "inference"] as const;
const MOST_ENGINES = 2; // two lines each; more can't be told apart
const count = (value: number) => number(value, 1);
const perSecond = (value: number) => `${number(value, 1)} /s`;
const known = (value: number | undefined) => (value === undefined || !Number.isFinite(value) ? null : value);
const gauge = ({ now }: Looks, name: string, where = {}) => known(sum(now, `mlx_hub_${name}`, where));

/** A rate is 0 where nothing rises, and unknown where its service shows none of it. */
const perService = (value: (service: string) => number | null): Point => Object.fromEntries(SERVICES.map((name) => [name, value(name)]));
const speed = ({ now, before }: Looks, name: string, where = {}) =>
  sum(now, name, where) === undefined || now === before ? null : rate(before, now, name, where);

const quantiles = ({ now, earlier }: Looks, name: string): Point => ({
  Median: known(quantile(0.5, earlier, now, name)),
  "95th percentile": known(quantile(0.95, earlier, now, name)),
  "99th": known(quantile(0.99, earlier, now, name)),
});

/** What of a counter's rise another's was; null when nothing rose. */
function share({ now, earlier }: Looks, part: string, whole: string, where = {}): number | null {
  const total = rate(earlier, now, `mlx_hub_${whole}`);
  return total > 0 ? rate(earlier, now, `mlx_hub_${part}`, where) / total : null;
}

/** Size less what is free. */
function used(looks: Looks, what: string): number | null {
  const [size, free] = [gauge(looks, `${what}_size_bytes`), gauge(looks, `${what}_free_bytes`)];
  return size === null || free === null ? null : size - free;
}

function diskUse({ now }: Looks): Point {
  const free = labelled(now, "mlx_hub_host_disk_free_bytes", "folder");
  const sizes = Object.entries(labelled(now, "mlx_hub_host_disk_size_bytes", "folder"));
  return Object.fromEntries(sizes.map(([folder, size]) => [folder, 1 - (free[folder] ?? 0) / size]));
}

function engineMemory({ now }: Looks): Point {
  const active = labelled(now, "mlx_hub_engine_active_bytes", "base_model");
  const forecast = labelled(now, "mlx_hub_engine_forecast_bytes", "base_model");
  const names = Object.keys(forecast).sort();
  if (names.length > MOST_ENGINES) return { [`${names.length} engines`]: known(sum(now, "mlx_hub_engine_active_bytes")), forecast: known(sum(now, "mlx_hub_engine_forecast_bytes")) };
  return Object.fromEntries(names.flatMap((name) => [[name, active[name] ?? null], ["forecast" + (names.length > 1 ? ` of ${name}` : ""), forecast[name]!]]));
}

const MACHINE: Section = {
  title: "Machine",
  panels: [
    { title: "CPU", hint: "Busy share of all processors", empty: "No data yet", format: percent, point: (looks) => ({ Busy: gauge(looks, "host_cpu_ratio") }) },
    { title: "GPU", hint: "Busy share of the GPU", empty: "This machine tells none of a GPU", format: percent, point: (looks) => ({ Busy: gauge(looks, "host_gpu_ratio") }) },
    { title: "Memory", hint: "Of the machine or container", empty: "No data yet", format: bytes, point: (looks) => ({ Used: used(looks, "host_memory"), Size: gauge(looks, "host_memory_size_bytes"), Swap: used(looks, "host_swap") }) },
    { title: "Memory budget", hint: "What engines and jobs have leased of it", empty: "No data yet", format: bytes, point: (looks) => ({ Engines: gauge(looks, "memory_leased_bytes", { holder: "engine" }), Jobs: gauge(looks, "memory_leased_bytes", { holder: "job" }), Free: gauge(looks, "memory_free_bytes"), Budget: gauge(looks, "memory_budget_bytes") }) },
    { title: "Disk", hint: "Used share of the volumes that hold the hub's folders", empty: "No data yet", format: percent, point: diskUse },
    { title: "Pressure", hint: "Share of time in which something waited, as Linux tells it", empty: "Only Linux tells this", format: (value) => percent(value, 1), point: ({ now }) => labelled(now, "mlx_hub_host_pressure_ratio", "resource") },
    { title: "Warning levels", hint: "Memory 0 to 2 and heat 0 to 4, as macOS tells them", empty: "Only macOS tells these", format: count, point: (looks) => ({ Memory: gauge(looks, "host_memory_pressure_level"), Heat: gauge(looks, "host_thermal_level") }) },
    { title: "Memory of processes", hint: "Resident, of each service without its children", empty: "No data yet", format: bytes, point: ({ now }) => perService((service) => known(sum(now, "process_resident_memory_bytes", { service }))) },
  ],
};

const CALLS: Section = {
  title: "Calls",
  panels: [
    { title: "Calls per second", hint: "Ended calls, by service", empty: "No call yet", format: perSecond, point: (looks) => perService((service) => speed(looks, "grpc_server_handled_total", { service })) },
    { title: "Errors per second", hint: "Calls that ended with any status but OK", empty: "No call yet", format: perSecond, point: (looks) => perService((service) => errors(looks, service)) },
    { title: "Latency", hint: "Of the calls of the last half minute; streams from first to last", empty: "No call in the last half minute", format: duration, point: (looks) => quantiles(looks, "grpc_server_handling_seconds") },
    { title: "Calls in flight", hint: "That run now, by service", empty: "No data yet", format: count, point: ({ now }) => perService((service) => known(sum(now, "mlx_hub_rpc_in_flight", { service }))) },
  ],
};

function errors(looks: Looks, service: string): number | null {
  const all = speed(looks, "grpc_server_handled_total", { service });
  return all === null ? null : Math.max(0, all - (speed(looks, "grpc_server_handled_total", { service, grpc_code: "OK" }) ?? 0));
}

const INFERENCE: Section = {
  title: "Inference",
  panels: [
    { title: "Requests", hint: "Served now, and in line", empty: "No data yet", format: count, point: (looks) => ({ Running: gauge(looks, "inference_running"), "Waiting for an engine": gauge(looks, "inference_waiting"), "for its batch": gauge(looks, "engine_waiting") }) },
    { title: "Tokens per second", hint: "Generated, those of unfinished answers too", empty: "No engine has answered yet", format: perSecond, point: (looks) => ({ Generated: speed(looks, "mlx_hub_engine_generated_tokens_total") }) },
    { title: "Time to first token", hint: "Of the answers of the last half minute", empty: "No answer in the last half minute", format: duration, point: (looks) => quantiles(looks, "mlx_hub_inference_ttft_seconds") },
    { title: "Time between tokens", hint: "Of the tokens of the last half minute", empty: "No token in the last half minute", format: duration, point: (looks) => quantiles(looks, "mlx_hub_engine_inter_token_seconds") },
    { title: "Batch rows", hint: "Requests in the engines' batches now, and in the mean step", empty: "No engine has answered yet", format: (value) => number(value, 1), point: (looks) => ({ Now: gauge(looks, "engine_rows"), "Mean of a step": share(looks, "engine_batch_rows_sum", "engine_batch_rows_count") }) },
    { title: "Prompt cache", hint: "Answers with a kept beginning, and prompt tokens reused", empty: "No answer in the last half minute", format: percent, point: (looks) => ({ Hits: share(looks, "inference_cache_lookups_total", "inference_cache_lookups_total", { result: "hit" }), "Tokens reused": share(looks, "inference_cached_tokens_total", "inference_prompt_tokens_total") }) },
    { title: "Engines' memory", hint: "What MLX holds, and the forecast of the most", empty: "No engine is loaded", format: bytes, point: engineMemory },
    { title: "Failures per second", hint: "Requests that failed or were refused", empty: "None yet", format: perSecond, point: (looks) => ({ Failed: speed(looks, "mlx_hub_inference_failures_total"), Refused: speed(looks, "mlx_hub_inference_refusals_total") }) },
  ],
};

const TRAINING: Section = {
  title: "Training",
  panels: [
    { title: "Jobs", hint: "Training now, and in the queue", empty: "No data yet", format: count, point: (looks) => ({ Running: gauge(looks, "training_running"), Queued: gauge(looks, "training_queued") }) },
    { title: "Loss", hint: "Of the last step, and of the held-out rows", empty: "No job has trained yet", format: short, floats: true, point: (looks) => ({ Training: gauge(looks, "training_loss"), Validation: gauge(looks, "training_validation_loss") }) },
    { title: "Trained tokens per second", hint: "Over the last seconds", empty: "No job has trained yet", format: perSecond, point: (looks) => ({ Trained: speed(looks, "mlx_hub_training_tokens_total") }) },
    { title: "Worker's memory", hint: "The last worker's peak, and its forecast", empty: "No job has trained yet", format: bytes, point: (looks) => ({ Peak: gauge(looks, "training_peak_memory_bytes") || null, Forecast: gauge(looks, "training_forecast_bytes") || null }) },
  ],
};

export const SECTIONS: readonly Section[] = [MACHINE, CALLS, INFERENCE, TRAINING];
