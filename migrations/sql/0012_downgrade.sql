-- Takes back 0012: replays go with what they found, retried jobs stay as they are.

DELETE FROM trainer.forwards WHERE job_id IN (SELECT id FROM trainer.jobs WHERE replay_of IS NOT NULL);

DELETE FROM trainer.job_events WHERE job_id IN (SELECT id FROM trainer.jobs WHERE replay_of IS NOT NULL);

DELETE FROM trainer.jobs WHERE replay_of IS NOT NULL;

DROP TRIGGER guard_retry ON trainer.jobs;

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta, checkpoints_kept
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

CREATE OR REPLACE FUNCTION trainer.guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'queued' THEN
      RAISE EXCEPTION 'a job can''t begin as %', NEW.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status IN ('completed', 'failed', 'cancelled')
      AND to_jsonb(NEW) - 'last_sequence' <> to_jsonb(OLD) - 'last_sequence' THEN
    RAISE EXCEPTION 'a % job changes no more', OLD.status USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
    ('queued', 'running'), ('queued', 'cancelled'), ('running', 'completed'),
    ('running', 'failed'), ('running', 'cancelled'), ('running', 'queued')
  ) THEN
    RAISE EXCEPTION 'a job can''t go from % to %', OLD.status, NEW.status
      USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.attempt < OLD.attempt OR NEW.last_sequence < OLD.last_sequence
      OR (OLD.status = 'queued' AND NEW.status = 'running' AND NEW.attempt <= OLD.attempt) THEN
    RAISE EXCEPTION 'attempt and last_sequence only rise' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$$;

ALTER TABLE trainer.jobs
  DROP CONSTRAINT ck_jobs_completed,
  DROP COLUMN replay_of,
  DROP COLUMN verdict,
  DROP COLUMN retried_at,
  ADD CONSTRAINT ck_jobs_completed CHECK (num_nulls(version_id, version) = CASE status WHEN 'completed' THEN 0 ELSE 2 END);
