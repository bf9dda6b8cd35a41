-- Takes back 0011: jobs that pause are due at once.

DROP TRIGGER guard_attempt ON registry.versions;

DROP FUNCTION registry.guard_version_attempt();

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

ALTER TABLE trainer.jobs
  DROP COLUMN checkpoints_kept,
  DROP COLUMN next_attempt_at;
