/** A new job's form: its fields in the order that people think of them, and the request that its texts make. */

import { JOB_BOUNDS, type JobRequest } from "@/api/training";
import { wrong } from "@/lib/bounds";

export const LABELS: Readonly<Record<string, string>> = {
  epochs: "Epochs", batch_size: "Batch size", learning_rate: "Learning rate", max_seq_length: "Longest row", seed: "Seed",
  method: "Method", lora_rank: "Rank", lora_scale: "Scale", lora_dropout: "Dropout", lora_layers: "Layers", target_keys: "Linear layers", quantize_bits: "Quantised base",
  optimizer: "Optimizer", schedule: "Schedule", warmup_steps: "Warm-up steps", weight_decay: "Weight decay", grad_clip: "Gradient clip", grad_accumulation: "Accumulation", grad_checkpoint: "Gradient checkpoints",
  mask_prompt: "Mask the prompt", validation_fraction: "Validation part", test_fraction: "Test part", evaluate: "Evaluate", samples: "Samples", sample_prompts: "Sample prompts", sample_tokens: "Sample tokens",
  early_stop_patience: "Early stop after", early_stop_min_delta: "Least improvement", nonfinite_lr_factor: "Not finite: rate times", checkpoint_every_steps: "Checkpoint every", checkpoints_kept: "Checkpoints kept", max_attempts: "Attempts",
};

export const GROUPS = [
  { title: "Basics", hint: "What matters most", fields: ["epochs", "batch_size", "learning_rate", "max_seq_length", "seed"] },
  { title: "Adapter", hint: "What is trained of the model", fields: ["method", "lora_rank", "lora_scale", "lora_dropout", "lora_layers", "quantize_bits", "target_keys"] },
  { title: "Optimizer", hint: "How the weights move", fields: ["optimizer", "schedule", "warmup_steps", "weight_decay", "grad_clip", "grad_accumulation", "grad_checkpoint"] },
  { title: "Data and evaluation", hint: "What is held out, and what is measured on it", fields: ["mask_prompt", "validation_fraction", "test_fraction", "evaluate", "samples", "sample_tokens", "sample_prompts"] },
  { title: "Guards", hint: "What ends or mends a run", fields: ["early_stop_patience", "early_stop_min_delta", "nonfinite_lr_factor", "checkpoint_every_steps", "checkpoints_kept", "max_attempts"] },
] as const;

export const FIELDS: readonly string[] = GROUPS.flatMap(({ fields }) => [...fields]);

/** What stands in the form: texts by field; an empty one takes the hub's default. */
export type Form = Readonly<Record<string, string>>;

const ADAPTER = ["lora_rank", "lora_scale", "lora_dropout", "quantize_bits"];

/** Whether a field means anything beside the others. */
export function applies(name: string, form: Form): boolean {
  if (form.method === "TRAINING_METHOD_FULL" && ADAPTER.includes(name)) return false;
  if (name === "weight_decay" && form.optimizer === "TRAINING_OPTIMIZER_ADAM") return false;
  if (name === "early_stop_min_delta" && !Number(form.early_stop_patience)) return false;
  return !(name === "samples" && form.sample_prompts?.trim());
}

/** The request of these texts; null while a number is wrong, or model and dataset are not chosen. */
export function request(form: Form): JobRequest | null {
  const body: Record<string, unknown> = { model_id: Number(form.model_id), dataset_id: Number(form.dataset_id) };
  if (!body.model_id || !body.dataset_id) return null;
  for (const name of FIELDS) {
    const text = form[name]?.trim();
    const bound = JOB_BOUNDS[name];
    if (!text || !bound || !applies(name, form)) continue;
    const number = bound.type === "integer" || bound.type === "number";
    if (number && wrong(bound, text)) return null;
    body[name] = number ? Number(text) : bound.type === "boolean" ? text === "true" : bound.type === "array" ? words(name, text) : text;
  }
  return body as JobRequest;
}

/** Texts that make the same request as a job's: only what is not the default. */
export function formOf(job: Readonly<Record<string, unknown>>): Form {
  const form: Record<string, string> = { model_id: String(job.model_id), dataset_id: String(job.dataset_id) };
  for (const name of FIELDS) {
    const value = job[name];
    if (value === undefined || value === JOB_BOUNDS[name]?.default) continue;
    // The contract's floats are single: 0.0003 comes back as it was meant.
    form[name] = Array.isArray(value) ? value.join("\n") : typeof value === "number" ? String(Number(value.toPrecision(7))) : String(value);
  }
  if (form.sample_prompts) delete form.samples;
  return form;
}

const words = (name: string, text: string) =>
  text.split(name === "sample_prompts" ? "\n" : /[\s,]+/).map((word) => word.trim()).filter(Boolean);

/** An enum's value as words: TRAINING_OPTIMIZER_ADAMW → adamw. */
export const spoken = (value: string) => value.replace(/^TRAINING_(METHOD|OPTIMIZER|SCHEDULE)_/, "").toLowerCase();
