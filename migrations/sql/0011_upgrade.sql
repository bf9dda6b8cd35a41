-- A job pauses between attempts, keeps as many checkpoints as it was told to, and only its newest
-- attempt may publish.

ALTER TABLE trainer.jobs
  ADD COLUMN checkpoints_kept INTEGER DEFAULT 2 NOT NULL,
  ADD COLUMN next_attempt_at TIMESTAMP WITH TIME ZONE,
  ADD CONSTRAINT ck_jobs_checkpoints_kept CHECK (checkpoints_kept BETWEEN 1 AND 100),
  ADD CONSTRAINT ck_jobs_next_attempt_at CHECK (next_attempt_at IS NULL OR status = 'queued');

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta, checkpoints_kept
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

CREATE FUNCTION registry.guard_version_attempt() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  job record;
BEGIN
  SELECT attempt, status INTO job FROM trainer.jobs WHERE id = NEW.job_id FOR SHARE;
  IF FOUND AND (job.attempt <> NEW.attempt OR job.status <> 'running') THEN
    RAISE EXCEPTION 'attempt % no longer holds job %', NEW.attempt, NEW.job_id
      USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_versions_job_attempt';
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER guard_attempt BEFORE INSERT ON registry.versions
  FOR EACH ROW EXECUTE FUNCTION registry.guard_version_attempt();
