import type { Schemas } from "@/api";
import { reports } from "./Guards";
import { NOTHING, reduce } from "./watch";

type Frame = Schemas["TrainingEvent"];
const event = (sequence: number, what: object) => ({ sequence, attempt: 1, ...what }) as Frame;
const acted = (frames: Frame[], job = {}) => reports(job as Schemas["TrainingJob"], reduce(NOTHING, frames, 0)).filter((report) => report.acted).map((report) => [report.name, report.text]);

test("a quiet run has no guard that acted", () => {
  expect(acted([event(1, { forecast: { total_bytes: 1e9 } }), event(2, { step: { step: 1, peak_memory_bytes: 8e8 } })])).toEqual([]);
});

test("each guard says what it did", () => {
  expect(acted([
    event(1, { memory_wait: { needed_bytes: 2e9 } }),
    event(2, { learning_rate_lowered: { step: 7, resumed_from_step: 4, factor: 0.5 } }),
    event(3, { weights_kept: { step: 9, kept_step: 6, val_loss: 0.25, stopped_early: true } }),
    event(4, { cooldown_began: { step: 5 } }), event(5, { cooldown_ended: { step: 5, seconds: 30, still_hot: true } }),
  ])).toEqual([
    ["Memory", "It waited for 2.0 GB. No forecast yet."],
    ["Numbers that are not finite", "Step 7 was not finite: back to step 4, learning rate times 0.5."],
    ["Early stop", "Ended at step 9; the weights of step 6 are published, validation 0.25."],
    ["Heat", "Paused for 30 s; the machine is still hot."],
  ]);
});
