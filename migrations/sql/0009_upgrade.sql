-- A job may choose its method, optimizer and schedule.

ALTER TABLE trainer.jobs
  ADD COLUMN method TEXT DEFAULT 'lora' NOT NULL,
  ADD COLUMN quantize_bits INTEGER DEFAULT 0 NOT NULL,
  ADD COLUMN target_keys TEXT[] DEFAULT '{}' NOT NULL,
  ADD COLUMN optimizer TEXT DEFAULT 'adamw' NOT NULL,
  ADD COLUMN schedule TEXT DEFAULT 'constant' NOT NULL,
  ADD COLUMN warmup_steps INTEGER DEFAULT 0 NOT NULL,
  ADD COLUMN weight_decay REAL DEFAULT 0.01 NOT NULL,
  ADD COLUMN grad_clip REAL DEFAULT 0 NOT NULL,
  ADD COLUMN grad_accumulation INTEGER DEFAULT 1 NOT NULL,
  ADD COLUMN grad_checkpoint BOOLEAN DEFAULT false NOT NULL,
  ADD CONSTRAINT ck_jobs_method CHECK (method IN ('lora', 'dora', 'full')),
  ADD CONSTRAINT ck_jobs_quantize_bits CHECK (quantize_bits IN (0, 4, 8)),
  ADD CONSTRAINT ck_jobs_target_keys CHECK (cardinality(target_keys) <= 64),
  ADD CONSTRAINT ck_jobs_optimizer CHECK (optimizer IN ('adamw', 'adam', 'sgd', 'adafactor', 'lion')),
  ADD CONSTRAINT ck_jobs_schedule CHECK (schedule IN ('constant', 'linear', 'cosine')),
  ADD CONSTRAINT ck_jobs_warmup_steps CHECK (warmup_steps BETWEEN 0 AND 1000000),
  ADD CONSTRAINT ck_jobs_weight_decay CHECK (weight_decay BETWEEN 0 AND 1),
  ADD CONSTRAINT ck_jobs_grad_clip CHECK (grad_clip BETWEEN 0 AND 1000),
  ADD CONSTRAINT ck_jobs_grad_accumulation CHECK (grad_accumulation BETWEEN 1 AND 1024);

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate, epochs,
    batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length, mask_prompt,
    validation_fraction, checkpoint_every_steps, max_attempts, request_id, request_digest,
    created_at, test_fraction, method, quantize_bits, target_keys, optimizer, schedule,
    warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();
