-- A version may have been trained elsewhere; see docs/adr/0024.

ALTER TABLE registry.versions
  ALTER COLUMN job_id DROP NOT NULL,
  ALTER COLUMN attempt DROP NOT NULL,
  ALTER COLUMN dataset_id DROP NOT NULL,
  ADD COLUMN origin TEXT DEFAULT 'trained' NOT NULL,
  ADD CONSTRAINT ck_versions_origin CHECK (origin IN ('trained', 'imported')),
  ADD CONSTRAINT ck_versions_job CHECK (num_nulls(job_id, attempt, dataset_id) = CASE origin WHEN 'trained' THEN 0 ELSE 3 END);

ALTER TABLE registry.model_events
  DROP CONSTRAINT ck_model_events_type,
  ADD CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined', 'updated',
    'promoted', 'rolled_back', 'alias_deleted', 'archived', 'restored', 'evaluated', 'gate_set', 'gate_deleted', 'imported'));
