-- What changing, promoting, archiving and deleting need; see docs/adr/0008.

ALTER TABLE registry.models ADD COLUMN deleted_at TIMESTAMP WITH TIME ZONE;

ALTER TABLE registry.models DROP CONSTRAINT uq_models_name;

CREATE UNIQUE INDEX uq_models_name ON registry.models (name) WHERE deleted_at IS NULL;

ALTER TABLE registry.outbox ADD COLUMN revision INTEGER DEFAULT 0 NOT NULL;

ALTER TABLE registry.model_events
  DROP CONSTRAINT ck_model_events_type,
  DROP CONSTRAINT ck_model_events_version,
  ADD CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined', 'updated',
    'promoted', 'rolled_back', 'alias_deleted', 'archived', 'restored')),
  ADD CONSTRAINT ck_model_events_version CHECK ((type IN ('created', 'updated')) = (version = 0));

CREATE FUNCTION registry.guard_model() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.deleted_at IS NOT NULL AND NEW IS DISTINCT FROM OLD THEN
    RAISE EXCEPTION 'a deleted model changes no more' USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.name <> OLD.name OR NEW.base_model_id <> OLD.base_model_id THEN
    RAISE EXCEPTION 'the name and base of a model never change' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER guard BEFORE UPDATE ON registry.models
  FOR EACH ROW EXECUTE FUNCTION registry.guard_model();

CREATE FUNCTION registry.guard_model_jobs() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  IF EXISTS (
    SELECT FROM trainer.jobs WHERE model_id = NEW.id AND status IN ('queued', 'running')
  ) THEN
    RAISE EXCEPTION 'model % has a queued or running job', NEW.id
      USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_jobs_model_id';
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER guard_jobs BEFORE UPDATE OF deleted_at ON registry.models
  FOR EACH ROW EXECUTE FUNCTION registry.guard_model_jobs();

CREATE FUNCTION trainer.guard_job_model() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  PERFORM FROM registry.models WHERE id = NEW.model_id AND deleted_at IS NULL FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'model % does not exist', NEW.model_id
      USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_jobs_model_id';
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER guard_model BEFORE INSERT ON trainer.jobs
  FOR EACH ROW EXECUTE FUNCTION trainer.guard_job_model();

-- An alias is the one thing that may go: its history stays.
GRANT DELETE ON registry.version_aliases TO mlx_hub_registry;
