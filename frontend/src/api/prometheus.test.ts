import { MetricsRing } from "./metrics";
import { parse, quantile, rate, type Sample, sum } from "./prometheus";

const at = (time: number, text: string): Sample => ({ time, metrics: parse(text) });

it("reads labels with anything in them, and numbers of every kind", () => {
  const found = parse('# HELP a b\na{x="1,\\"}\\n",y=""} 1.5e3\nb +Inf\nc{le="0.1"} NaN\n\nnot a line\n');
  expect(found.get("a")).toEqual([{ labels: { x: '1,"}\n', y: "" }, value: 1500 }]);
  expect(found.get("b")?.[0]?.value).toBe(Infinity);
  expect(found.get("c")?.[0]?.value).toBeNaN();
});

it("adds up what has the labels, and tells nothing from none", () => {
  const sample = at(0, 'm{s="a",k="1"} 1\nm{s="a",k="2"} 2\nm{s="b"} 4');
  expect([sum(sample, "m"), sum(sample, "m", { s: "a" }), sum(sample, "n")]).toEqual([7, 3, undefined]);
});

it("makes rates of counters; one that began again counts from 0", () => {
  expect(rate(at(10, "c 100"), at(12, "c 140"), "c")).toBe(20);
  expect(rate(at(10, "c 100"), at(12, "c 6"), "c")).toBe(3);
  expect(rate(at(10, ""), at(12, "c 6"), "c")).toBe(3);
});

it("takes the rise of each series by itself: one that ended or began again lowers no other", () => {
  const before = at(10, 'c{e="a"} 100\nc{e="b"} 10');
  expect(rate(before, at(12, 'c{e="b"} 14'), "c")).toBe(2);
  expect(rate(before, at(12, 'c{e="a"} 2\nc{e="b"} 14'), "c")).toBe(3);
});

it("takes a service's total for no rise after a look that could not read it", () => {
  const before = at(10, 'mlx_hub_service_up{service="s"} 0');
  const after = at(12, 'mlx_hub_service_up{service="s"} 1\nc{service="s"} 1000\nh_bucket{service="s",le="1"} 9\nh_bucket{service="s",le="+Inf"} 9');
  expect(rate(before, after, "c")).toBe(0);
  expect(quantile(0.5, before, after, "h")).toBeUndefined();
});

it("takes quantiles of what came in between only", () => {
  const histogram = (a: number, b: number, c: number) => `h_bucket{le="1"} ${a}\nh_bucket{le="2"} ${b}\nh_bucket{le="+Inf"} ${c}`;
  const before = at(0, histogram(50, 50, 50));
  expect(quantile(0.5, before, at(1, histogram(50, 60, 60)), "h")).toBe(1.5);
  expect(quantile(0.5, before, at(1, histogram(50, 50, 51)), "h")).toBe(2);
  expect(quantile(0.5, before, before, "h")).toBeUndefined();
});

it("keeps the looks while somebody looks, and tells why there is none", async () => {
  vi.useFakeTimers();
  const read = vi.fn(async () => "c 1");
  const ring = new MetricsRing(read);
  const stop = ring.subscribe(() => {});
  await vi.advanceTimersByTimeAsync(4100);
  expect(ring.get().samples).toHaveLength(3);
  read.mockRejectedValueOnce(new TypeError("gone"));
  await vi.advanceTimersByTimeAsync(2000);
  expect(ring.get()).toMatchObject({ error: { status: 0 }, samples: { length: 3 } });
  stop();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(read).toHaveBeenCalledTimes(4);
  vi.useRealTimers();
});
