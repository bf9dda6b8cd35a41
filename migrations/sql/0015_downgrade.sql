-- Takes back 0015. Refused by the columns' NOT NULL while there is an imported version: an older
-- registry can't say what it is.

ALTER TABLE registry.versions
  ALTER COLUMN job_id SET NOT NULL,
  ALTER COLUMN attempt SET NOT NULL,
  ALTER COLUMN dataset_id SET NOT NULL,
  DROP CONSTRAINT ck_versions_job,
  DROP COLUMN origin;

ALTER TABLE registry.model_events
  DROP CONSTRAINT ck_model_events_type,
  ADD CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined', 'updated',
    'promoted', 'rolled_back', 'alias_deleted', 'archived', 'restored', 'evaluated', 'gate_set', 'gate_deleted'));
