import type { LogLine } from "@/api/training";
import { LogWindow, missing, PAGE } from "./log";

const line = (sequence: number): LogLine => ({ sequence, message: `line ${sequence}`, attempt: 1, level: "TRAINING_LOG_LEVEL_INFO", source: "TRAINING_LOG_SOURCE_WORKER" });
const lines = (after: number, count: number, last: number) =>
  Array.from({ length: Math.max(0, Math.min(count, last - after)) }, (_, i) => line(after + i + 1));

test("only pages that are seen and not yet asked for are missing", () => {
  expect(missing(0, 10, new Set())).toEqual([0]);
  expect(missing(PAGE - 1, PAGE * 2, new Set([1]))).toEqual([0, 2]);
});

test("any part of 100,000 lines comes by one question, once", async () => {
  const ask = vi.fn(async (after: number, count: number) => lines(after, count, 100_000));
  const log = new LogWindow(ask);
  log.frame(line(1), line(100_000));
  expect(log.rows).toBe(100_000);
  await log.show(60_010, 60_040);
  await log.show(60_020, 60_050);
  expect(ask.mock.calls).toEqual([[60_000, PAGE]]);
  expect(log.line(60_010)?.message).toBe("line 60011");
});

test("a log that lost its beginning counts from what is left", async () => {
  const log = new LogWindow(async (after, count) => lines(after, count, 900));
  log.frame(line(401), line(900));
  expect(log.rows).toBe(500);
  await log.show(0, 5);
  expect(log.line(0)?.sequence).toBe(401);
});

test("a question that failed is asked again; a new line makes the log longer", async () => {
  let fails = true;
  const log = new LogWindow(async (after, count) => {
    if (fails) throw new Error("away");
    return lines(after, count, 10);
  });
  log.frame(line(1), line(10));
  await log.show(0, 9);
  expect(log.line(4)).toBeUndefined();
  fails = false;
  await log.show(0, 9);
  expect(log.line(4)?.sequence).toBe(5);
  log.take([line(11)]);
  expect(log.rows).toBe(11);
});
