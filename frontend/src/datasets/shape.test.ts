import { lines, nameOf, partsOf, shape } from "./shape";

it.each([
  ["Tickets 2026.JSONL", "tickets-2026"], ["überblick.jsonl", "uberblick"], ["--a_b.c--.ndjson", "a_b.c"], ["<img src=x>.jsonl", "img-src-x"], ["日本.jsonl", ""],
])("makes %s the name %s", (file, name) => expect(nameOf(file)).toBe(name));

describe("shape", () => {
  const buckets = [{ from_tokens: 20, to_tokens: 31, rows: 4 }, { from_tokens: 32, to_tokens: 63, rows: 400 }, { from_tokens: 64, to_tokens: 120, rows: 1 }];

  it("scales bars to the highest, and leaves no row invisible", () => {
    const { bars } = shape(buckets, 512);
    expect(bars.map(({ height }) => height)).toEqual([0.02, 1, 0.02]);
    expect(shape([{ from_tokens: 1, to_tokens: 1, rows: 0 }], 8).bars[0]).toMatchObject({ label: "1", height: 0 });
  });

  it("puts the mark into its bar, by the tokens before it", () => {
    expect(shape(buckets, 47).mark).toBeCloseTo((1 + 0.5) / 3);
    expect(shape(buckets, 10).mark).toBe(0);
    expect(shape(buckets, 31).mark).toBeCloseTo(1 / 3);
    expect(shape(buckets, 120).mark).toBeNull();
    expect(shape(buckets, 50).bars.map(({ beyond }) => beyond)).toEqual([false, false, true]);
    expect(shape([], 5)).toEqual({ bars: [], mark: null });
  });
});

it("writes line numbers as runs", () => {
  expect(lines([3, 7, 8, 9, 12])).toBe("3, 7–9, 12");
  expect(lines([1, 3, 5], 2)).toBe("1, 3 …");
  expect(lines([])).toBe("");
});

it.each([
  ['{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null, "tool_calls": [1]}]}', ["user: Hi", "assistant: [1]"]],
  ['{"completion": "B", "prompt": "A"}', ["prompt: A", "completion: B"]],
  ['{"text": "T", "more": 1}', ["text: T"]],
  ['{"other": 1}', [': {"other": 1}']],
  ["no JSON", [": no JSON"]],
  ["[1]", [": [1]"]],
  ["null", [": null"]],
])("reads %s as turns and texts", (line, parts) => expect(partsOf(line).map(({ label, text }) => `${label}: ${text}`)).toEqual(parts));
