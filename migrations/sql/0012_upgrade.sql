-- Finished jobs can be replayed, failed and cancelled ones retried; see docs/adr/0021.

ALTER TABLE trainer.jobs
  ADD COLUMN replay_of INTEGER,
  ADD COLUMN verdict JSONB,
  ADD COLUMN retried_at TIMESTAMP WITH TIME ZONE,
  DROP CONSTRAINT ck_jobs_completed,
  ADD CONSTRAINT ck_jobs_completed CHECK (num_nulls(version_id, version) = CASE WHEN status = 'completed' AND replay_of IS NULL THEN 0 ELSE 2 END),
  ADD CONSTRAINT ck_jobs_verdict CHECK ((verdict IS NOT NULL) = (status = 'completed' AND replay_of IS NOT NULL) AND jsonb_typeof(verdict) = 'object'),
  ADD CONSTRAINT ck_jobs_replay CHECK (num_nulls(replay_of, publishing_at) > 0),
  ADD CONSTRAINT fk_jobs_replay_of FOREIGN KEY (replay_of) REFERENCES trainer.jobs (id);

CREATE INDEX ix_jobs_replay_of ON trainer.jobs (replay_of);

CREATE OR REPLACE FUNCTION trainer.guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'queued' THEN
      RAISE EXCEPTION 'a job can''t begin as %', NEW.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status = OLD.status
      AND to_jsonb(NEW) - 'last_sequence' <> to_jsonb(OLD) - 'last_sequence' THEN
    RAISE EXCEPTION 'a % job changes no more', OLD.status USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
    ('queued', 'running'), ('queued', 'cancelled'), ('running', 'completed'),
    ('running', 'failed'), ('running', 'cancelled'), ('running', 'queued'),
    ('failed', 'queued'), ('cancelled', 'queued')
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

CREATE TRIGGER guard_retry BEFORE UPDATE OF status ON trainer.jobs
  FOR EACH ROW WHEN (OLD.status IN ('failed', 'cancelled') AND NEW.status = 'queued')
  EXECUTE FUNCTION trainer.guard_job_model();

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta, checkpoints_kept, replay_of
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();
