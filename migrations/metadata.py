"""The whole schema as the code sees it: both services' tables and the keys between them."""

from sqlalchemy import ForeignKeyConstraint, MetaData

from services.chassis.tables import Base, trigger
from services.registry import tables as _registry
from services.trainer import tables as _trainer

METADATA: MetaData = Base.metadata
SCHEMAS = (_registry.SCHEMA, _trainer.SCHEMA)

# Only here are both sides known. A version and its job point at each other, so the
# last key is added once both tables exist.
for _source, _column, _target in (
    ("trainer.jobs", "model_id", "registry.models.id"),
    ("trainer.jobs", "dataset_id", "registry.datasets.id"),
    ("registry.versions", "job_id", "trainer.jobs.id"),
    ("trainer.jobs", "version_id", "registry.versions.id"),
):
    METADATA.tables[_source].append_constraint(
        ForeignKeyConstraint([_column], [_target], use_alter=_column == "version_id")
    )

# The fence of a job's attempts holds for what it publishes too. A claim that is under way makes
# the insert wait, and an insert the next claim.
trigger(
    METADATA.tables["registry.versions"],
    """
CREATE FUNCTION registry.guard_version_attempt() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  job record;
BEGIN
  SELECT attempt, status INTO job FROM trainer.jobs WHERE id = NEW.job_id FOR SHARE;
  IF FOUND AND (job.attempt <> NEW.attempt OR job.status <> 'running') THEN
    RAISE EXCEPTION 'attempt % no longer holds job %', NEW.attempt, NEW.job_id
      USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_versions_job_attempt';
  END IF;
  RETURN NEW;
END
$$""",
    """
CREATE TRIGGER guard_attempt BEFORE INSERT ON registry.versions
  FOR EACH ROW EXECUTE FUNCTION registry.guard_version_attempt()""",
)

# A model is deleted by a mark, which no foreign key sees: these keep its promises. They see
# both schemas with the rights of their owner, and each service's role still sees only its own.
# The insert waits for a deletion that is under way, and a deletion for such inserts.
trigger(
    METADATA.tables["registry.models"],
    """
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
$$""",
    """
CREATE TRIGGER guard_jobs BEFORE UPDATE OF deleted_at ON registry.models
  FOR EACH ROW EXECUTE FUNCTION registry.guard_model_jobs()""",
)
trigger(
    METADATA.tables["trainer.jobs"],
    """
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
$$""",
    """
CREATE TRIGGER guard_model BEFORE INSERT ON trainer.jobs
  FOR EACH ROW EXECUTE FUNCTION trainer.guard_job_model()""",
    # A retry makes a job live again, as an insert does.
    """
CREATE TRIGGER guard_retry BEFORE UPDATE OF status ON trainer.jobs
  FOR EACH ROW WHEN (OLD.status IN ('failed', 'cancelled') AND NEW.status = 'queued')
  EXECUTE FUNCTION trainer.guard_job_model()""",
)
