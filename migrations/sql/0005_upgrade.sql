-- Evaluations, and the gate before a promotion; see docs/adr/0012.

CREATE TABLE registry.evaluations (
  id INTEGER GENERATED ALWAYS AS IDENTITY,
  model_id INTEGER NOT NULL,
  version INTEGER,
  subject_digest TEXT NOT NULL,
  metric TEXT NOT NULL,
  value DOUBLE PRECISION NOT NULL,
  dataset_id INTEGER NOT NULL,
  dataset_digest TEXT NOT NULL,
  split TEXT NOT NULL,
  how JSONB DEFAULT '{}'::jsonb NOT NULL,
  request_id TEXT,
  request_digest TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_evaluations PRIMARY KEY (id),
  CONSTRAINT ck_evaluations_subject_digest CHECK (subject_digest ~ '^[0-9a-f]{64}$'),
  CONSTRAINT ck_evaluations_metric CHECK (metric ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$'),
  CONSTRAINT ck_evaluations_value CHECK (value > '-Infinity' AND value < 'Infinity'),
  CONSTRAINT ck_evaluations_dataset_digest CHECK (dataset_digest ~ '^[0-9a-f]{64}$'),
  CONSTRAINT ck_evaluations_split CHECK (split IN ('train', 'valid', 'test', 'all')),
  CONSTRAINT ck_evaluations_how CHECK (jsonb_typeof(how) = 'object'),
  CONSTRAINT ck_evaluations_request CHECK ((request_id IS NULL) = (request_digest IS NULL)),
  CONSTRAINT uq_evaluations_request_id UNIQUE (request_id),
  CONSTRAINT fk_evaluations_model_id FOREIGN KEY (model_id) REFERENCES registry.models (id),
  CONSTRAINT fk_evaluations_model_id_version FOREIGN KEY (model_id, version)
    REFERENCES registry.versions (model_id, version),
  CONSTRAINT fk_evaluations_dataset_id FOREIGN KEY (dataset_id) REFERENCES registry.datasets (id)
);

CREATE INDEX ix_evaluations_model_id_id ON registry.evaluations (model_id, id);

CREATE INDEX ix_evaluations_measure
  ON registry.evaluations (model_id, metric, dataset_digest, split, version, id);

CREATE INDEX ix_evaluations_dataset_id ON registry.evaluations (dataset_id);

CREATE TABLE registry.promotion_gates (
  model_id INTEGER NOT NULL,
  metric TEXT NOT NULL,
  direction TEXT NOT NULL,
  tolerance DOUBLE PRECISION NOT NULL,
  dataset_id INTEGER NOT NULL,
  split TEXT NOT NULL,
  aliases TEXT[] NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_promotion_gates PRIMARY KEY (model_id),
  CONSTRAINT ck_promotion_gates_metric CHECK (metric ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$'),
  CONSTRAINT ck_promotion_gates_direction CHECK (direction IN ('lower', 'higher')),
  CONSTRAINT ck_promotion_gates_tolerance CHECK (tolerance >= 0 AND tolerance < 'Infinity'),
  CONSTRAINT ck_promotion_gates_split CHECK (split IN ('train', 'valid', 'test', 'all')),
  CONSTRAINT fk_promotion_gates_model_id FOREIGN KEY (model_id) REFERENCES registry.models (id),
  CONSTRAINT fk_promotion_gates_dataset_id FOREIGN KEY (dataset_id)
    REFERENCES registry.datasets (id)
);

CREATE INDEX ix_promotion_gates_dataset_id ON registry.promotion_gates (dataset_id);

ALTER TABLE registry.model_events
  DROP CONSTRAINT ck_model_events_type,
  DROP CONSTRAINT ck_model_events_version,
  ADD CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined', 'updated',
    'promoted', 'rolled_back', 'alias_deleted', 'archived', 'restored', 'evaluated', 'gate_set',
    'gate_deleted')),
  ADD CONSTRAINT ck_model_events_version CHECK (type = 'evaluated' OR
    (type IN ('created', 'updated', 'gate_set', 'gate_deleted')) = (version = 0));

-- An evaluation is a fact: added and read, never changed. A gate is a setting; its history stays.
GRANT SELECT, INSERT ON registry.evaluations TO mlx_hub_registry;
GRANT SELECT, INSERT, UPDATE, DELETE ON registry.promotion_gates TO mlx_hub_registry;
