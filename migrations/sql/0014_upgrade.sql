-- A job may evaluate and sample its version; see docs/adr/0023.

CREATE TABLE registry.version_samples (
  version_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  turns JSONB NOT NULL,
  base_text TEXT NOT NULL,
  base_tokens INTEGER NOT NULL,
  base_cut BOOLEAN NOT NULL,
  text TEXT NOT NULL,
  tokens INTEGER NOT NULL,
  cut BOOLEAN NOT NULL,
  CONSTRAINT pk_version_samples PRIMARY KEY (version_id, number),
  CONSTRAINT ck_version_samples_number CHECK (number > 0),
  CONSTRAINT ck_version_samples_turns CHECK (jsonb_typeof(turns) = 'array'),
  CONSTRAINT ck_version_samples_tokens CHECK (base_tokens >= 0 AND tokens >= 0),
  CONSTRAINT fk_version_samples_version_id FOREIGN KEY (version_id)
    REFERENCES registry.versions (id)
);

-- They are never changed, but show rows of a dataset: they go with their model.
GRANT SELECT, INSERT, DELETE ON registry.version_samples TO mlx_hub_registry;

ALTER TABLE trainer.jobs
  ADD COLUMN evaluate BOOLEAN DEFAULT false NOT NULL,
  ADD COLUMN samples INTEGER DEFAULT 0 NOT NULL,
  ADD COLUMN sample_prompts TEXT[] DEFAULT '{}' NOT NULL,
  ADD COLUMN sample_tokens INTEGER DEFAULT 32 NOT NULL,
  ADD CONSTRAINT ck_jobs_samples CHECK (samples BETWEEN 0 AND 8),
  ADD CONSTRAINT ck_jobs_sample_prompts CHECK (cardinality(sample_prompts) IN (0, samples)),
  ADD CONSTRAINT ck_jobs_sample_tokens CHECK (sample_tokens BETWEEN 1 AND 256);

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta, checkpoints_kept, replay_of,
    evaluate, samples, sample_prompts, sample_tokens
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

ALTER TABLE trainer.job_events
  DROP CONSTRAINT ck_job_events_kind,
  ADD CONSTRAINT ck_job_events_kind
    CHECK (kind IN ('job', 'step', 'validation', 'checkpoint', 'rate_lowered', 'weights_kept', 'cooldown_began', 'cooldown_ended', 'evaluation'));
