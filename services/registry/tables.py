"""The registry's tables. Byte counts are bigint, ids int32, times Postgres's own."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import DIGEST_PATTERN, NAME_PATTERN, Base, Key, Now, Time, trigger

SCHEMA = "registry"
_EMPTY_OBJECT = text("'{}'::jsonb")


def _request_columns() -> tuple[CheckConstraint, UniqueConstraint]:
    return (
        CheckConstraint("(request_id IS NULL) = (request_digest IS NULL)", name="request"),
        UniqueConstraint("request_id"),
    )


class BaseModelRow(Base):
    """A model folder the operator imported."""

    __tablename__ = "base_models"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),
        CheckConstraint(f"digest ~ '{DIGEST_PATTERN}'", name="digest"),
        CheckConstraint("parameters >= 0", name="parameters"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        CheckConstraint("context_length >= 0", name="context_length"),
        CheckConstraint("jsonb_typeof(files) = 'array'", name="files"),
        UniqueConstraint("name"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    model_type: Mapped[str] = mapped_column(Text)
    parameters: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    context_length: Mapped[int]
    artifact_path: Mapped[str] = mapped_column(Text)
    files: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """Name, size, sha256 and mtime of each file, as it was when its hash was taken."""
    created_at: Mapped[Now]


class ModelRow(Base):
    """A named line of versions."""

    __tablename__ = "models"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),
        CheckConstraint("task_type IN ('text-generation')", name="task_type"),
        CheckConstraint("char_length(description) <= 2000", name="description"),
        CheckConstraint("jsonb_typeof(tags) = 'object'", name="tags"),
        *_request_columns(),
        # A deleted model frees its name.
        Index("uq_models_name", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
        # A unique index in the C locale would do for prefixes; this one does in any locale.
        Index("ix_models_name_prefix", "name", postgresql_ops={"name": "text_pattern_ops"}),
        Index("ix_models_tags", "tags", postgresql_using="gin"),
        Index(None, "base_model_id"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(Text)
    task_type: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    base_model_id: Mapped[int] = mapped_column(ForeignKey(BaseModelRow.id))
    tags: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=_EMPTY_OBJECT)
    mlflow_experiment_id: Mapped[str] = mapped_column(Text, server_default="")
    request_id: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    deleted_at: Mapped[Time | None]
    """Rows stay, so that jobs and lineage keep what they refer to."""


class DatasetRow(Base):
    """An immutable JSONL file."""

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),
        CheckConstraint(f"checksum ~ '{DIGEST_PATTERN}'", name="checksum"),
        CheckConstraint("schema IN ('chat', 'completion', 'text')", name="schema"),
        CheckConstraint("rows > 0", name="rows"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        *_request_columns(),
        UniqueConstraint("name"),
        Index("ix_datasets_name_prefix", "name", postgresql_ops={"name": "text_pattern_ops"}),
        Index(None, "checksum"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    checksum: Mapped[str] = mapped_column(Text)
    schema: Mapped[str] = mapped_column(Text)
    rows: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    request_id: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Now]


class VersionRow(Base):
    """A published adapter; nothing but its status ever changes."""

    __tablename__ = "versions"
    __table_args__ = (
        CheckConstraint("version > 0", name="version"),
        CheckConstraint("status IN ('pending', 'ready', 'archived', 'failed')", name="status"),
        CheckConstraint("attempt > 0", name="attempt"),
        CheckConstraint(f"checksum ~ '{DIGEST_PATTERN}'", name="checksum"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        CheckConstraint("jsonb_typeof(metrics) = 'object'", name="metrics"),
        CheckConstraint("jsonb_typeof(lineage) = 'object'", name="lineage"),
        UniqueConstraint("model_id", "version"),
        UniqueConstraint("job_id"),
        # Lets an alias prove that its version is of its own model.
        UniqueConstraint("model_id", "id"),
        Index(None, "dataset_id"),
        Index(None, "base_model_id"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id))
    version: Mapped[int]
    status: Mapped[str] = mapped_column(Text)
    job_id: Mapped[int]
    attempt: Mapped[int]
    dataset_id: Mapped[int] = mapped_column(ForeignKey(DatasetRow.id))
    base_model_id: Mapped[int] = mapped_column(ForeignKey(BaseModelRow.id))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=_EMPTY_OBJECT)
    artifact_path: Mapped[str] = mapped_column(Text)
    checksum: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    lineage: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """As in manifest.json: files, base, dataset, recipe, environment."""
    created_at: Mapped[Now]


class AliasRow(Base):
    """A movable name of a version."""

    __tablename__ = "version_aliases"
    __table_args__ = (
        # `base` means the base model alone, and digits alone are a version's number.
        CheckConstraint(
            "alias ~ '^[a-z0-9][a-z0-9._-]{0,62}$' AND alias !~ '^[0-9]+$' AND alias <> 'base'",
            name="alias",
        ),
        ForeignKeyConstraint(["model_id", "version_id"], [VersionRow.model_id, VersionRow.id]),
        Index(None, "version_id"),
        {"schema": SCHEMA},
    )
    model_id: Mapped[int] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(Text, primary_key=True)
    version_id: Mapped[int]
    updated_at: Mapped[Now]


class EventRow(Base):
    """Something that happened to a model; its role may only add and read."""

    __tablename__ = "model_events"
    __table_args__ = (
        CheckConstraint(
            "type IN ('created', 'trained', 'quarantined', 'updated', 'promoted', 'rolled_back',"
            " 'alias_deleted', 'archived', 'restored')",
            name="type",
        ),
        CheckConstraint("(type IN ('created', 'updated')) = (version = 0)", name="version"),
        CheckConstraint("jsonb_typeof(details) = 'object'", name="details"),
        Index(None, "model_id", "id"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id))
    type: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default=text("0"))
    details: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=_EMPTY_OBJECT)
    created_at: Mapped[Now]


class OutboxRow(Base):
    """A fact that MLflow has still to hear, written in the fact's own transaction."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        ForeignKeyConstraint(["model_id", "version_id"], [VersionRow.model_id, VersionRow.id]),
        UniqueConstraint("model_id", "version_id", postgresql_nulls_not_distinct=True),
        Index(
            "ix_outbox_due", "next_attempt_at", "id", postgresql_where=text("delivered_at IS NULL")
        ),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id))
    version_id: Mapped[int | None]
    """Unset when the fact is the model itself."""
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[Now]
    last_error: Mapped[str] = mapped_column(Text, server_default="")
    delivered_at: Mapped[Time | None]
    created_at: Mapped[Now]
    revision: Mapped[int] = mapped_column(server_default=text("0"))
    """Rises with each change of the fact: a delivery of an older one confirms nothing."""


trigger(
    ModelRow.__table__,
    """
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
$$""",
    """
CREATE TRIGGER guard BEFORE UPDATE ON registry.models
  FOR EACH ROW EXECUTE FUNCTION registry.guard_model()""",
)
trigger(
    VersionRow.__table__,
    """
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
$$""",
    """
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON registry.versions
  FOR EACH ROW EXECUTE FUNCTION registry.guard_version()""",
)
