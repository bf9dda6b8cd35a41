import { range, told, wrong } from "./bounds";

test("a range reads as people say it", () => {
  expect(range({ minimum: 1, maximum: 256 })).toBe("1 to 256");
  expect(range({ minimum: -2, maximum: 2 })).toBe("−2 to 2");
  expect(range({ exclusiveMinimum: 0, maximum: 1 })).toBe("above 0, at most 1");
  expect(range({ minimum: 0, exclusiveMaximum: 1 })).toBe("from 0, below 1");
  expect(range({ minimum: 0, maximum: 2_147_483_647 })).toBe("from 0");
});

test.each([
  [{ type: "integer", minimum: 1, maximum: 8 }, "9", "Give a number 1 to 8."],
  [{ type: "integer", minimum: 1, maximum: 8 }, "1.5", "Give a whole number."],
  [{ type: "number", exclusiveMinimum: 0, maximum: 1 }, "0", "Give a number above 0, at most 1."],
  [{ type: "number", minimum: 0, exclusiveMaximum: 1 }, "1", "Give a number from 0, below 1."],
  [{ type: "number" }, "abc", "Give a number."],
  [{ type: "number", minimum: 0 }, " ", undefined],
  [{ type: "integer", minimum: 1, maximum: 8 }, "8", undefined],
])("%o refuses or takes %s", (bound, text, expected) => {
  expect(wrong(bound, text)).toBe(expected);
});

test("what the field shows anyway is not said again", () => {
  expect(told({ description: "Default 8. Not with method full." })).toBe("Not with method full.");
  expect(told({ description: "Rows in one batch. Default 4." })).toBe("Rows in one batch.");
  expect(told({ description: "How many. Default 0: all. More." })).toBe("How many. More.");
  expect(told({ description: "Held out. Default 0.1." })).toBe("Held out.");
});
