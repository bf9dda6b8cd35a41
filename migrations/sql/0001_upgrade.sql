-- Both services' schemas as of revision 0001. Never edited after release: a later
-- revision changes what is here.

CREATE SCHEMA registry;

CREATE SCHEMA trainer;

CREATE TABLE registry.base_models (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  model_type TEXT NOT NULL,
  parameters BIGINT NOT NULL,
  size_bytes BIGINT NOT NULL,
  context_length INTEGER NOT NULL,
  artifact_path TEXT NOT NULL,
  files JSONB NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_base_models PRIMARY KEY (id),
  CONSTRAINT ck_base_models_name CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
  CONSTRAINT ck_base_models_digest CHECK (digest ~ '^[0-9a-f]{64}$'),
  CONSTRAINT ck_base_models_parameters CHECK (parameters >= 0),
  CONSTRAINT ck_base_models_size_bytes CHECK (size_bytes > 0),
  CONSTRAINT ck_base_models_context_length CHECK (context_length >= 0),
  CONSTRAINT ck_base_models_files CHECK (jsonb_typeof(files) = 'array'),
  CONSTRAINT uq_base_models_name UNIQUE (name)
);

CREATE TABLE registry.datasets (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  checksum TEXT NOT NULL,
  schema TEXT NOT NULL,
  rows INTEGER NOT NULL,
  size_bytes BIGINT NOT NULL,
  request_id TEXT,
  request_digest TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_datasets PRIMARY KEY (id),
  CONSTRAINT ck_datasets_name CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
  CONSTRAINT ck_datasets_checksum CHECK (checksum ~ '^[0-9a-f]{64}$'),
  CONSTRAINT ck_datasets_schema CHECK (schema IN ('chat', 'completion', 'text')),
  CONSTRAINT ck_datasets_rows CHECK (rows > 0),
  CONSTRAINT ck_datasets_size_bytes CHECK (size_bytes > 0),
  CONSTRAINT ck_datasets_request CHECK ((request_id IS NULL) = (request_digest IS NULL)),
  CONSTRAINT uq_datasets_request_id UNIQUE (request_id),
  CONSTRAINT uq_datasets_name UNIQUE (name)
);

CREATE INDEX ix_datasets_checksum ON registry.datasets (checksum);

CREATE INDEX ix_datasets_name_prefix ON registry.datasets (name text_pattern_ops);

CREATE TABLE registry.models (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  name TEXT NOT NULL,
  task_type TEXT NOT NULL,
  description TEXT NOT NULL,
  base_model_id INTEGER NOT NULL,
  tags JSONB DEFAULT '{}'::jsonb NOT NULL,
  mlflow_experiment_id TEXT DEFAULT '' NOT NULL,
  request_id TEXT,
  request_digest TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_models PRIMARY KEY (id),
  CONSTRAINT ck_models_name CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
  CONSTRAINT ck_models_task_type CHECK (task_type IN ('text-generation')),
  CONSTRAINT ck_models_description CHECK (char_length(description) <= 2000),
  CONSTRAINT ck_models_tags CHECK (jsonb_typeof(tags) = 'object'),
  CONSTRAINT ck_models_request CHECK ((request_id IS NULL) = (request_digest IS NULL)),
  CONSTRAINT uq_models_request_id UNIQUE (request_id),
  CONSTRAINT uq_models_name UNIQUE (name),
  CONSTRAINT fk_models_base_model_id FOREIGN KEY (base_model_id) REFERENCES registry.base_models (id)
);

CREATE INDEX ix_models_name_prefix ON registry.models (name text_pattern_ops);

CREATE INDEX ix_models_tags ON registry.models USING gin (tags);

CREATE INDEX ix_models_base_model_id ON registry.models (base_model_id);

CREATE TABLE registry.model_events (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  model_id INTEGER NOT NULL,
  type TEXT NOT NULL,
  version INTEGER DEFAULT 0 NOT NULL,
  details JSONB DEFAULT '{}'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_model_events PRIMARY KEY (id),
  CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined')),
  CONSTRAINT ck_model_events_version CHECK ((type = 'created') = (version = 0)),
  CONSTRAINT ck_model_events_details CHECK (jsonb_typeof(details) = 'object'),
  CONSTRAINT fk_model_events_model_id FOREIGN KEY (model_id) REFERENCES registry.models (id)
);

CREATE INDEX ix_model_events_model_id_id ON registry.model_events (model_id, id);

CREATE TABLE trainer.jobs (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  status TEXT DEFAULT 'queued' NOT NULL,
  model_id INTEGER NOT NULL,
  dataset_id INTEGER NOT NULL,
  lora_rank INTEGER NOT NULL,
  learning_rate REAL NOT NULL,
  epochs INTEGER NOT NULL,
  batch_size INTEGER NOT NULL,
  seed INTEGER NOT NULL,
  lora_scale REAL NOT NULL,
  lora_dropout REAL NOT NULL,
  lora_layers INTEGER NOT NULL,
  max_seq_length INTEGER NOT NULL,
  mask_prompt BOOLEAN NOT NULL,
  validation_fraction REAL NOT NULL,
  checkpoint_every_steps INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  attempt INTEGER DEFAULT 0 NOT NULL,
  failed_attempts INTEGER DEFAULT 0 NOT NULL,
  node TEXT,
  lease_owner TEXT,
  lease_expires_at TIMESTAMP WITH TIME ZONE,
  heartbeat_at TIMESTAMP WITH TIME ZONE,
  cancel_requested_at TIMESTAMP WITH TIME ZONE,
  publishing_at TIMESTAMP WITH TIME ZONE,
  step INTEGER DEFAULT 0 NOT NULL,
  total_steps INTEGER DEFAULT 0 NOT NULL,
  epoch INTEGER DEFAULT 0 NOT NULL,
  loss REAL DEFAULT 0 NOT NULL,
  val_loss REAL,
  tokens_per_second REAL DEFAULT 0 NOT NULL,
  peak_memory_bytes DOUBLE PRECISION DEFAULT 0 NOT NULL,
  last_sequence INTEGER DEFAULT 0 NOT NULL,
  error_reason TEXT,
  error_message TEXT,
  version_id INTEGER,
  version INTEGER,
  request_id TEXT,
  request_digest TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE,
  finished_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_jobs PRIMARY KEY (id),
  CONSTRAINT ck_jobs_status CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
  CONSTRAINT ck_jobs_lora_rank CHECK (lora_rank BETWEEN 1 AND 256),
  CONSTRAINT ck_jobs_learning_rate CHECK (learning_rate > 0 AND learning_rate <= 1),
  CONSTRAINT ck_jobs_epochs CHECK (epochs BETWEEN 1 AND 1000),
  CONSTRAINT ck_jobs_batch_size CHECK (batch_size BETWEEN 1 AND 256),
  CONSTRAINT ck_jobs_seed CHECK (seed >= 0),
  CONSTRAINT ck_jobs_lora_scale CHECK (lora_scale > 0 AND lora_scale <= 1000),
  CONSTRAINT ck_jobs_lora_dropout CHECK (lora_dropout >= 0 AND lora_dropout < 1),
  CONSTRAINT ck_jobs_lora_layers CHECK (lora_layers BETWEEN 0 AND 1000),
  CONSTRAINT ck_jobs_max_seq_length CHECK (max_seq_length BETWEEN 8 AND 131072),
  CONSTRAINT ck_jobs_validation_fraction CHECK (validation_fraction BETWEEN 0 AND 0.5),
  CONSTRAINT ck_jobs_checkpoint_every_steps CHECK (checkpoint_every_steps BETWEEN 1 AND 100000),
  CONSTRAINT ck_jobs_max_attempts CHECK (max_attempts BETWEEN 1 AND 10),
  CONSTRAINT ck_jobs_attempt CHECK (attempt >= 0 AND (attempt = 0) = (started_at IS NULL)),
  CONSTRAINT ck_jobs_failed_attempts CHECK (failed_attempts BETWEEN 0 AND LEAST(attempt, max_attempts)),
  CONSTRAINT ck_jobs_started CHECK (status IN ('queued', 'cancelled') OR started_at IS NOT NULL),
  CONSTRAINT ck_jobs_finished CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
  CONSTRAINT ck_jobs_lease CHECK (CASE status WHEN 'running' THEN num_nulls(node, lease_owner, lease_expires_at, heartbeat_at) = 0 ELSE num_nonnulls(lease_owner, lease_expires_at) = 0 END),
  CONSTRAINT ck_jobs_cancelled CHECK (status <> 'cancelled' OR cancel_requested_at IS NOT NULL),
  CONSTRAINT ck_jobs_publishing CHECK (num_nulls(cancel_requested_at, publishing_at) > 0),
  CONSTRAINT ck_jobs_completed CHECK (num_nulls(version_id, version) = CASE status WHEN 'completed' THEN 0 ELSE 2 END),
  CONSTRAINT ck_jobs_failed CHECK (num_nulls(error_reason, error_message) = CASE status WHEN 'failed' THEN 0 ELSE 2 END),
  CONSTRAINT ck_jobs_version CHECK (version > 0),
  CONSTRAINT ck_jobs_progress CHECK (step >= 0 AND total_steps >= 0 AND step <= total_steps AND epoch >= 0 AND peak_memory_bytes >= 0),
  CONSTRAINT ck_jobs_last_sequence CHECK (last_sequence >= 0),
  CONSTRAINT ck_jobs_request CHECK ((request_id IS NULL) = (request_digest IS NULL)),
  CONSTRAINT uq_jobs_request_id UNIQUE (request_id),
  CONSTRAINT uq_jobs_version_id UNIQUE (version_id),
  CONSTRAINT fk_jobs_model_id FOREIGN KEY (model_id) REFERENCES registry.models (id),
  CONSTRAINT fk_jobs_dataset_id FOREIGN KEY (dataset_id) REFERENCES registry.datasets (id)
);

CREATE INDEX ix_jobs_dataset_id ON trainer.jobs (dataset_id);

CREATE UNIQUE INDEX uq_jobs_one_running ON trainer.jobs (node) WHERE status = 'running';

CREATE INDEX ix_jobs_status_id ON trainer.jobs (status, id);

CREATE INDEX ix_jobs_model_id_id ON trainer.jobs (model_id, id);

CREATE FUNCTION trainer.guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON trainer.jobs
  FOR EACH ROW EXECUTE FUNCTION trainer.guard_job();

CREATE FUNCTION trainer.guard_recipe() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the recipe of a job never changes' USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate, epochs,
    batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length, mask_prompt,
    validation_fraction, checkpoint_every_steps, max_attempts, request_id, request_digest,
    created_at
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

CREATE TABLE registry.versions (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  model_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  status TEXT NOT NULL,
  job_id INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  dataset_id INTEGER NOT NULL,
  base_model_id INTEGER NOT NULL,
  metrics JSONB DEFAULT '{}'::jsonb NOT NULL,
  artifact_path TEXT NOT NULL,
  checksum TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  lineage JSONB NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_versions PRIMARY KEY (id),
  CONSTRAINT ck_versions_version CHECK (version > 0),
  CONSTRAINT ck_versions_status CHECK (status IN ('pending', 'ready', 'archived', 'failed')),
  CONSTRAINT ck_versions_attempt CHECK (attempt > 0),
  CONSTRAINT ck_versions_checksum CHECK (checksum ~ '^[0-9a-f]{64}$'),
  CONSTRAINT ck_versions_size_bytes CHECK (size_bytes > 0),
  CONSTRAINT ck_versions_metrics CHECK (jsonb_typeof(metrics) = 'object'),
  CONSTRAINT ck_versions_lineage CHECK (jsonb_typeof(lineage) = 'object'),
  CONSTRAINT uq_versions_model_id_version UNIQUE (model_id, version),
  CONSTRAINT uq_versions_job_id UNIQUE (job_id),
  CONSTRAINT uq_versions_model_id_id UNIQUE (model_id, id),
  CONSTRAINT fk_versions_model_id FOREIGN KEY (model_id) REFERENCES registry.models (id),
  CONSTRAINT fk_versions_dataset_id FOREIGN KEY (dataset_id) REFERENCES registry.datasets (id),
  CONSTRAINT fk_versions_base_model_id FOREIGN KEY (base_model_id) REFERENCES registry.base_models (id),
  CONSTRAINT fk_versions_job_id FOREIGN KEY (job_id) REFERENCES trainer.jobs (id)
);

CREATE INDEX ix_versions_dataset_id ON registry.versions (dataset_id);

CREATE INDEX ix_versions_base_model_id ON registry.versions (base_model_id);

CREATE FUNCTION registry.guard_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status NOT IN ('pending', 'ready') THEN
      RAISE EXCEPTION 'a version can''t begin as %', NEW.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
    ('pending', 'ready'), ('pending', 'failed'), ('ready', 'archived'), ('ready', 'failed'),
    ('archived', 'ready'), ('archived', 'failed')
  ) THEN
    RAISE EXCEPTION 'a version can''t go from % to %', OLD.status, NEW.status
      USING ERRCODE = 'check_violation';
  END IF;
  IF OLD.status <> 'pending' AND to_jsonb(NEW) - 'status' <> to_jsonb(OLD) - 'status' THEN
    RAISE EXCEPTION 'a published version is immutable' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON registry.versions
  FOR EACH ROW EXECUTE FUNCTION registry.guard_version();

CREATE TABLE trainer.job_events (
  job_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  kind TEXT NOT NULL,
  payload JSONB NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_job_events PRIMARY KEY (job_id, sequence),
  CONSTRAINT ck_job_events_sequence CHECK (sequence > 0),
  CONSTRAINT ck_job_events_attempt CHECK (attempt >= 0),
  CONSTRAINT ck_job_events_kind CHECK (kind IN ('job', 'step', 'validation', 'checkpoint')),
  CONSTRAINT ck_job_events_payload CHECK (jsonb_typeof(payload) = 'object'),
  CONSTRAINT fk_job_events_job_id FOREIGN KEY (job_id) REFERENCES trainer.jobs (id)
);

CREATE TABLE registry.version_aliases (
  model_id INTEGER NOT NULL,
  alias TEXT NOT NULL,
  version_id INTEGER NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_version_aliases PRIMARY KEY (model_id, alias),
  CONSTRAINT ck_version_aliases_alias CHECK (alias ~ '^[a-z0-9][a-z0-9._-]{0,62}$' AND alias !~ '^[0-9]+$' AND alias <> 'base'),
  CONSTRAINT fk_version_aliases_model_id_version_id FOREIGN KEY (model_id, version_id) REFERENCES registry.versions (model_id, id)
);

CREATE INDEX ix_version_aliases_version_id ON registry.version_aliases (version_id);

CREATE TABLE registry.outbox (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  model_id INTEGER NOT NULL,
  version_id INTEGER,
  attempts INTEGER DEFAULT 0 NOT NULL,
  next_attempt_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  last_error TEXT DEFAULT '' NOT NULL,
  delivered_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_outbox PRIMARY KEY (id),
  CONSTRAINT ck_outbox_attempts CHECK (attempts >= 0),
  CONSTRAINT fk_outbox_model_id_version_id FOREIGN KEY (model_id, version_id) REFERENCES registry.versions (model_id, id),
  CONSTRAINT uq_outbox_model_id_version_id UNIQUE NULLS NOT DISTINCT (model_id, version_id),
  CONSTRAINT fk_outbox_model_id FOREIGN KEY (model_id) REFERENCES registry.models (id)
);

CREATE INDEX ix_outbox_due ON registry.outbox (next_attempt_at, id) WHERE delivered_at IS NULL;

ALTER TABLE trainer.jobs ADD CONSTRAINT fk_jobs_version_id FOREIGN KEY (version_id) REFERENCES registry.versions (id);
