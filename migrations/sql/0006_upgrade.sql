-- What MLflow hears of a job, attempt by attempt; see docs/adr/0013.

-- A version that was delivered before has a run, and now gets its artifacts and its registration.
UPDATE registry.outbox SET delivered_at = NULL, next_attempt_at = now(), attempts = 0,
  last_error = '';

ALTER TABLE registry.outbox
  DROP COLUMN created_at,
  ADD COLUMN waiting_since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  ADD COLUMN job_id INTEGER,
  ADD COLUMN reach INTEGER DEFAULT 0 NOT NULL,
  ADD COLUMN claimed_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN failing_since TIMESTAMP WITH TIME ZONE,
  ADD COLUMN deliveries INTEGER DEFAULT 0 NOT NULL,
  ADD COLUMN failures INTEGER DEFAULT 0 NOT NULL,
  DROP CONSTRAINT uq_outbox_model_id_version_id,
  ADD CONSTRAINT uq_outbox_model_id_version_id_job_id
    UNIQUE NULLS NOT DISTINCT (model_id, version_id, job_id),
  ADD CONSTRAINT uq_outbox_job_id UNIQUE (job_id),
  ADD CONSTRAINT ck_outbox_subject CHECK (num_nonnulls(version_id, job_id) < 2),
  ADD CONSTRAINT ck_outbox_failing CHECK ((last_error = '') = (failing_since IS NULL));

CREATE TABLE registry.training_facts (
  job_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  kind TEXT NOT NULL,
  payload JSONB NOT NULL,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_training_facts PRIMARY KEY (job_id, sequence),
  CONSTRAINT ck_training_facts_sequence CHECK (sequence > 0),
  CONSTRAINT ck_training_facts_attempt CHECK (attempt > 0),
  CONSTRAINT ck_training_facts_kind CHECK (kind IN ('started', 'measured', 'ended')),
  CONSTRAINT ck_training_facts_payload CHECK (jsonb_typeof(payload) = 'object'),
  CONSTRAINT fk_training_facts_job_id FOREIGN KEY (job_id) REFERENCES registry.outbox (job_id)
);

-- A fact that MLflow has is of no more use: the trainer's log keeps it.
GRANT SELECT, INSERT, DELETE ON registry.training_facts TO mlx_hub_registry;

CREATE TABLE trainer.forwards (
  job_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  CONSTRAINT pk_forwards PRIMARY KEY (job_id),
  CONSTRAINT ck_forwards_sequence CHECK (sequence > 0),
  CONSTRAINT fk_forwards_job_id FOREIGN KEY (job_id) REFERENCES trainer.jobs (id)
);

GRANT SELECT, INSERT, UPDATE ON trainer.forwards TO mlx_hub_trainer;
