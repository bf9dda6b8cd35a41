-- Takes back 0009: how jobs were trained is lost.

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate, epochs,
    batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length, mask_prompt,
    validation_fraction, checkpoint_every_steps, max_attempts, request_id, request_digest,
    created_at, test_fraction
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

ALTER TABLE trainer.jobs
  DROP COLUMN method,
  DROP COLUMN quantize_bits,
  DROP COLUMN target_keys,
  DROP COLUMN optimizer,
  DROP COLUMN schedule,
  DROP COLUMN warmup_steps,
  DROP COLUMN weight_decay,
  DROP COLUMN grad_clip,
  DROP COLUMN grad_accumulation,
  DROP COLUMN grad_checkpoint;
