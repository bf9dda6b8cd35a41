-- Revision 0001 knows no deleted model: they come back, under a name that nobody else has.

REVOKE DELETE ON registry.version_aliases FROM mlx_hub_registry;

DROP TRIGGER guard_model ON trainer.jobs;

DROP FUNCTION trainer.guard_job_model();

DROP TRIGGER guard_jobs ON registry.models;

DROP FUNCTION registry.guard_model_jobs();

DROP TRIGGER guard ON registry.models;

DROP FUNCTION registry.guard_model();

UPDATE registry.models SET name = left(name, 80) || '-deleted-' || id WHERE deleted_at IS NOT NULL;

DROP INDEX registry.uq_models_name;

ALTER TABLE registry.models ADD CONSTRAINT uq_models_name UNIQUE (name);

ALTER TABLE registry.models DROP COLUMN deleted_at;

ALTER TABLE registry.outbox DROP COLUMN revision;

DELETE FROM registry.model_events
  WHERE type IN ('updated', 'promoted', 'rolled_back', 'alias_deleted', 'archived', 'restored');

ALTER TABLE registry.model_events
  DROP CONSTRAINT ck_model_events_type,
  DROP CONSTRAINT ck_model_events_version,
  ADD CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined')),
  ADD CONSTRAINT ck_model_events_version CHECK ((type = 'created') = (version = 0));
