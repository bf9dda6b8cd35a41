import { act, fireEvent, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { parse } from "@/api/prometheus";
import type { LineChartProps } from "@/ui/line-chart";
import { answer, renderInShell } from "../../test/hub";
import { shown } from "./lines";
import { Metrics } from "./Metrics";
import { SECTIONS } from "./panels";

const router = vi.hoisted(() => ({ replace: vi.fn() }));
vi.mock("next/navigation", () => ({ useRouter: () => router, useSearchParams: () => new URLSearchParams("minutes=1") }));
// jsdom draws nothing: a chart is what it would say.
vi.mock("@/ui/charts", async (original) => ({
  ...(await original<object>()),
  LineChart: ({ label, lines, format = String, empty }: LineChartProps) => {
    const said = lines.map((line) => [line.label, line.values.at(-1)] as const).filter(([, value]) => typeof value === "number");
    return <figure aria-label={label}>{said.length ? said.map(([name, value]) => `${name} ${format(value as number)}`).join(", ") : empty}</figure>;
  },
}));
afterEach(() => vi.restoreAllMocks());

const sample = (time: number, text: string) => ({ time, metrics: parse(text) });
const panel = (title: string) => SECTIONS.flatMap(({ panels }) => panels).find((found) => found.title === title)!;
const last = (title: string, ...texts: string[]) => {
  const { lines } = shown(panel(title), texts.map((text, index) => sample(100 + 2 * index, text)), 60);
  return Object.fromEntries(lines.map(({ label, values }) => [label, values.at(-1)]));
};

it("gives rates, shares and what is not known", () => {
  const calls = (ok: number, bad: number) => `grpc_server_handled_total{service="registry",grpc_code="OK"} ${ok}\ngrpc_server_handled_total{service="registry",grpc_code="INTERNAL"} ${bad}`;
  expect(last("Calls per second", calls(10, 0), calls(20, 4))).toEqual({ registry: 7, trainer: null, inference: null });
  expect(last("Errors per second", calls(10, 0), calls(20, 4)).registry).toBe(2);
  const cache = (hit: number, miss: number) => `mlx_hub_inference_cache_lookups_total{result="hit"} ${hit}\nmlx_hub_inference_cache_lookups_total{result="miss"} ${miss}`;
  expect(last("Prompt cache", cache(1, 1), cache(4, 2))).toEqual({ Hits: 0.75, "Tokens reused": null });
  expect(last("Prompt cache", cache(1, 1), cache(1, 1)).Hits).toBeNull();
  expect(last("Disk", 'mlx_hub_host_disk_size_bytes{folder="home"} 10\nmlx_hub_host_disk_free_bytes{folder="home"} 4')).toEqual({ home: 0.6 });
  expect(last("Loss", "mlx_hub_training_loss NaN")).toEqual({ Training: null, Validation: null });
});

it("sets each engine beside its forecast, and many engines together", () => {
  const engine = (name: string) => `mlx_hub_engine_active_bytes{base_model="${name}"} 2\nmlx_hub_engine_forecast_bytes{base_model="${name}"} 3`;
  expect(last("Engines' memory", engine("a"))).toEqual({ a: 2, forecast: 3 });
  expect(last("Engines' memory", ["a", "b", "c"].map(engine).join("\n"))).toEqual({ "3 engines": 6, forecast: 9 });
});

it("shows the chosen time only, whose rates know what came before", () => {
  const looks = Array.from({ length: 100 }, (_, i) => sample(2 * i, `mlx_hub_training_tokens_total ${i * 20}`));
  const { x, lines } = shown(panel("Trained tokens per second"), looks, 60);
  expect([x[0], x.at(-1), x.length]).toEqual([138, 198, 31]);
  expect(new Set(lines[0]?.values)).toEqual(new Set([10]));
});

it("names no metric that docs/metrics.md does not", async () => {
  const { readFileSync } = await import("node:fs");
  const names = (file: string) => [...readFileSync(file, "utf8").matchAll(/mlx_hub_[a-z_]+[a-z]|grpc_server_[a-z]+_[a-z]+/g)].map(([name]) => name);
  const documented = new Set(names("../docs/metrics.md"));
  const used = [...names("src/metrics/panels.ts"), ...["Memory", "Queue", "Services", "Speed"].flatMap((part) => names(`src/overview/${part}.tsx`))];
  const short = [...readFileSync("src/metrics/panels.ts", "utf8").matchAll(/"((?:host|memory|inference|engine|training)_[a-z_]+)"/g)].map(([, name = ""]) => `mlx_hub_${name}`);
  const whole = [...used, ...short].flatMap((name) => (/mlx_hub_host_(memory|swap)$/.test(name) ? [`${name}_size_bytes`, `${name}_free_bytes`] : [name.replace(/_(sum|count|bucket)$/, "")]));
  expect(whole.length).toBeGreaterThan(40);
  expect(whole.filter((name) => !documented.has(name))).toEqual([]);
});

it("shows every panel, each with its line or why there is none, and holds still while paused", async () => {
  vi.useFakeTimers();
  const looks = () => act(() => vi.advanceTimersByTimeAsync(2100));
  let busy = 0.25;
  answer({ "/metrics": () => new Response(`mlx_hub_host_cpu_ratio{service="registry"} ${busy}\n`) });
  renderInShell(<Metrics />);
  await act(() => vi.advanceTimersByTimeAsync(10));
  const figure = (name: string) => screen.getByRole("figure", { name });
  expect(figure("CPU")).toHaveTextContent("Busy 25 %");
  expect(figure("GPU")).toHaveTextContent("No data yet");
  await looks();
  expect(figure("GPU")).toHaveTextContent("This machine tells none of a GPU");
  fireEvent.click(screen.getByRole("button", { name: "Pause" }));
  busy = 0.75;
  await looks();
  expect(figure("CPU")).toHaveTextContent("Busy 25 %");
  fireEvent.click(screen.getByRole("button", { name: "Go on" }));
  expect(figure("CPU")).toHaveTextContent("Busy 75 %");
  vi.useRealTimers();
});

it("says why there is no look at all", async () => {
  vi.resetModules(); // a ring that has seen nothing
  const fresh = await import("./Metrics");
  answer({});
  renderInShell(<fresh.Metrics />);
  expect(await screen.findByRole("alert")).toHaveTextContent("The hub does not answer.");
});

it("keeps the chosen time in the URL", async () => {
  answer({ "/metrics": "" });
  renderInShell(<Metrics />);
  await userEvent.click(screen.getByRole("combobox", { name: "Time shown" }));
  await userEvent.click(screen.getByRole("option", { name: "Last 15 min" }));
  expect(router.replace).toHaveBeenCalledWith("/metrics/?minutes=15", { scroll: false });
});
