-- Dataset reports are kept, and a job may hold rows out for tests.

CREATE TABLE registry.dataset_reports (
  checksum TEXT NOT NULL,
  base_digest TEXT NOT NULL,
  parameters TEXT NOT NULL,
  report BYTEA NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_dataset_reports PRIMARY KEY (checksum, base_digest, parameters),
  CONSTRAINT ck_dataset_reports_checksum CHECK (checksum ~ '^[0-9a-f]{64}$'),
  CONSTRAINT ck_dataset_reports_base_digest CHECK (base_digest ~ '^[0-9a-f]{64}$')
);

GRANT SELECT, INSERT ON registry.dataset_reports TO mlx_hub_registry;

ALTER TABLE trainer.jobs
  ADD COLUMN test_fraction REAL DEFAULT 0 NOT NULL,
  ADD CONSTRAINT ck_jobs_test_fraction CHECK (test_fraction BETWEEN 0 AND 0.5);

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate, epochs,
    batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length, mask_prompt,
    validation_fraction, checkpoint_every_steps, max_attempts, request_id, request_digest,
    created_at, test_fraction
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();
