-- Takes back 0006.

DROP TABLE trainer.forwards;

DROP TABLE registry.training_facts;

DELETE FROM registry.outbox WHERE job_id IS NOT NULL;

ALTER TABLE registry.outbox
  DROP COLUMN job_id,
  DROP COLUMN reach,
  DROP COLUMN claimed_at,
  DROP COLUMN failing_since,
  DROP COLUMN deliveries,
  DROP COLUMN failures,
  DROP COLUMN waiting_since,
  ADD COLUMN created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  ADD CONSTRAINT uq_outbox_model_id_version_id UNIQUE NULLS NOT DISTINCT (model_id, version_id);
