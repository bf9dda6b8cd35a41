-- Takes back 0010: logs lose the events that only it knows, and keep their numbers.

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

DELETE FROM trainer.job_events
  WHERE kind IN ('rate_lowered', 'weights_kept', 'cooldown_began', 'cooldown_ended');
ALTER TABLE trainer.job_events
  DROP CONSTRAINT ck_job_events_kind,
  ADD CONSTRAINT ck_job_events_kind CHECK (kind IN ('job', 'step', 'validation', 'checkpoint'));

ALTER TABLE trainer.jobs
  DROP COLUMN nonfinite_lr_factor,
  DROP COLUMN early_stop_patience,
  DROP COLUMN early_stop_min_delta;
