-- Takes back 0014: samples, how jobs evaluated, and that in their logs, are lost.

DELETE FROM trainer.job_events WHERE kind = 'evaluation';

ALTER TABLE trainer.job_events
  DROP CONSTRAINT ck_job_events_kind,
  ADD CONSTRAINT ck_job_events_kind CHECK (kind IN ('job', 'step', 'validation', 'checkpoint', 'rate_lowered', 'weights_kept', 'cooldown_began', 'cooldown_ended'));

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta, checkpoints_kept, replay_of
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

ALTER TABLE trainer.jobs
  DROP COLUMN evaluate,
  DROP COLUMN samples,
  DROP COLUMN sample_prompts,
  DROP COLUMN sample_tokens;

DROP TABLE registry.version_samples;
