-- A job may lower its learning rate once and end early; its log tells of that and of pauses.

ALTER TABLE trainer.jobs
  ADD COLUMN nonfinite_lr_factor REAL DEFAULT 0 NOT NULL,
  ADD COLUMN early_stop_patience INTEGER DEFAULT 0 NOT NULL,
  ADD COLUMN early_stop_min_delta REAL DEFAULT 0 NOT NULL,
  ADD CONSTRAINT ck_jobs_nonfinite_lr_factor CHECK (nonfinite_lr_factor >= 0 AND nonfinite_lr_factor < 1),
  ADD CONSTRAINT ck_jobs_early_stop_patience CHECK (early_stop_patience BETWEEN 0 AND 1000),
  ADD CONSTRAINT ck_jobs_early_stop_min_delta CHECK (early_stop_min_delta BETWEEN 0 AND 100);

ALTER TABLE trainer.job_events
  DROP CONSTRAINT ck_job_events_kind,
  ADD CONSTRAINT ck_job_events_kind CHECK (kind IN ('job', 'step', 'validation', 'checkpoint', 'rate_lowered', 'weights_kept', 'cooldown_began', 'cooldown_ended'));

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();
