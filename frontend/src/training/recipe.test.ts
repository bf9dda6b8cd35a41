import { JOB_BOUNDS } from "@/api/training";
import { applies, FIELDS, formOf, LABELS, request } from "./recipe";

const chosen = { model_id: "1", dataset_id: "2" };

test("the form has every field of the contract, each with a label", () => {
  const asked = Object.keys(JOB_BOUNDS).filter((name) => !["model_id", "dataset_id", "request_id"].includes(name));
  expect([...FIELDS].sort()).toEqual(asked.sort());
  expect(FIELDS.filter((name) => !LABELS[name])).toEqual([]);
});

test("what is left empty is left out of the request", () => {
  expect(request(chosen)).toEqual({ model_id: 1, dataset_id: 2 });
  expect(request({ ...chosen, epochs: "2", mask_prompt: "false", sample_prompts: "one\n\ntwo", target_keys: "q_proj, v_proj", method: "TRAINING_METHOD_DORA" })).toEqual({
    model_id: 1, dataset_id: 2, epochs: 2, mask_prompt: false, sample_prompts: ["one", "two"], target_keys: ["q_proj", "v_proj"], method: "TRAINING_METHOD_DORA",
  });
});

test("nothing is asked while a number is out of its bounds", () => {
  expect(request({ ...chosen, lora_rank: "257" })).toBeNull();
  expect(request({ model_id: "1", epochs: "1" })).toBeNull();
});

test("fields that mean nothing beside others are left out", () => {
  const full = { ...chosen, method: "TRAINING_METHOD_FULL", lora_rank: "16" };
  expect(applies("lora_rank", full)).toBe(false);
  expect(request(full)).toEqual({ model_id: 1, dataset_id: 2, method: "TRAINING_METHOD_FULL" });
});

test("a job's recipe comes back as the texts that made it", () => {
  const job = { model_id: 1, dataset_id: 2, learning_rate: Math.fround(0.0003), epochs: 1, batch_size: 2, mask_prompt: true, target_keys: [] };
  expect(formOf(job)).toEqual({ ...chosen, learning_rate: "0.0003", batch_size: "2", mask_prompt: "true", target_keys: "" });
});
