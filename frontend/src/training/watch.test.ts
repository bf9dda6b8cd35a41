import type { Schemas } from "@/api";
import { isEnd, NOTHING, reduce, reducePolled, remaining } from "./watch";

type Frame = Schemas["TrainingEvent"];
const step = (sequence: number, n: number, loss: number, more = {}): Frame =>
  ({ sequence, attempt: 1, step: { step: n, total_steps: 8, loss, learning_rate: 0.1, ...more } }) as Frame;
const state = (sequence: number, status: string, more = {}): Frame =>
  ({ sequence, attempt: 1, job: { id: 7, status, attempt: 1, ...more } }) as Frame;

test("steps and validations become points by rising step", () => {
  const validation = { sequence: 2, attempt: 1, validation: { step: 0, val_loss: 3 } } as Frame;
  const seen = reduce(NOTHING, [state(0, "JOB_STATUS_RUNNING"), state(1, "JOB_STATUS_RUNNING"), validation, step(3, 1, 2), step(4, 2, 1)], 0);
  expect(seen.points.map((p) => [p.step, p.loss, p.validation])).toEqual([[0, null, 3], [1, 2, null], [2, 1, null]]);
  expect(seen.job?.progress?.step).toBe(2);
  expect(seen.happened).toHaveLength(1);
});

test("what a later attempt does again replaces what lay behind its checkpoint", () => {
  const first = reduce(NOTHING, [step(1, 1, 5), step(2, 2, 4), step(3, 3, 3)], 0);
  const again = reduce(first, [step(9, 2, 3.5)], 0);
  expect(again.points.map((p) => [p.step, p.loss])).toEqual([[1, 5], [2, 3.5]]);
  expect(first.points).toHaveLength(3);
});

test("a validation between steps cuts nothing off", () => {
  const seen = reduce(NOTHING, [step(1, 1, 5), step(2, 2, 4), { sequence: 3, attempt: 1, validation: { step: 1, val_loss: 2 } } as Frame], 0);
  expect(seen.points.map((p) => [p.step, p.validation])).toEqual([[1, 2], [2, null]]);
});

test("polled progress bridges a gap, and the stream's own steps then fill it", () => {
  const live = reduce(NOTHING, [state(0, "JOB_STATUS_RUNNING"), step(1, 1, 5)], 0);
  const polled = reducePolled(live, { id: 7, status: "JOB_STATUS_RUNNING", progress: { step: 4, loss: 2, eta_seconds: 8 } } as Schemas["TrainingJob"], 1000);
  expect(polled.points.map((p) => p.step)).toEqual([1, 4]);
  expect(remaining(polled.eta, 4000)).toBe(5);
  const back = reduce(polled, [state(1, "JOB_STATUS_RUNNING"), step(2, 2, 4), step(3, 3, 3), step(4, 4, 2)], 5000);
  expect(back.points.map((p) => [p.step, p.loss])).toEqual([[1, 5], [2, 4], [3, 3], [4, 2]]);
});

test("the state that opens a stream is no event; a stored one is", () => {
  const seen = reduce(NOTHING, [state(0, "JOB_STATUS_RUNNING"), state(1, "JOB_STATUS_QUEUED"), state(1, "JOB_STATUS_RUNNING"), state(6, "JOB_STATUS_COMPLETED")], 0);
  expect(seen.happened.map(({ frame }) => frame.job?.status)).toEqual(["JOB_STATUS_QUEUED", "JOB_STATUS_COMPLETED"]);
  expect(seen.eta).toBeNull();
});

test("an ended job's story is told again without going back to its beginning", () => {
  const end = state(0, "JOB_STATUS_COMPLETED", { progress: { step: 2 } });
  const seen = reduce(NOTHING, [end, state(1, "JOB_STATUS_QUEUED"), step(2, 1, 5)], 0);
  expect(seen.job?.status).toBe("JOB_STATUS_COMPLETED");
  expect(seen.job?.progress?.step).toBe(2);
  expect(seen.points).toHaveLength(1);
});

test("only the end of the newest run ends the stream", () => {
  const end = (status: string, retried_at?: string) => state(9, status, { retried_at });
  const opening = (sequence: number) => state(sequence, "JOB_STATUS_RUNNING", { retried_at: "r" });
  expect(isEnd(end("JOB_STATUS_FAILED"), opening(0))).toBe(false);
  expect(isEnd(end("JOB_STATUS_COMPLETED", "r"), opening(0))).toBe(true);
  expect(isEnd(end("JOB_STATUS_COMPLETED", "r"), opening(9))).toBe(false);
});
