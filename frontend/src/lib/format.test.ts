import { bytes, duration, relative, short, word } from "./format";

it.each([[0, "0 B"], [999, "999 B"], [118_761_944, "119 MB"], [12_638_257_152, "12.6 GB"], [999_999, "1.0 MB"], [-2000, "−2.0 kB"]])("%d bytes are %s", (value, text) => {
  expect(bytes(value)).toBe(text);
});

it.each([[0.045, "45 ms"], [3.21, "3.2 s"], [59.7, "1 min"], [245, "4 min 5 s"], [7380, "2 h 3 min"], [273_600, "3 d 4 h"]])("%d seconds are %s", (value, text) => {
  expect(duration(value)).toBe(text);
});

it("tells times by how long ago or in how long", () => {
  const now = new Date("2026-01-02T00:00:00Z");
  expect(relative(new Date("2026-01-01T23:55:00Z"), now)).toBe("5 min ago");
  expect(relative(new Date("2026-01-02T02:00:00Z"), now)).toBe("in 2 h");
  expect(relative(now, now)).toBe("just now");
});

it("writes numbers short and enums as words", () => {
  expect([short(0.69314), short(0.00003), short(Number.NaN)]).toEqual(["0.6931", "3.0e-5", "–"]);
  expect(word("SERVING_STATUS_NOT_SERVING", "SERVING_STATUS")).toBe("not serving");
});
