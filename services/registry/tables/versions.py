"""Published adapters and the names that point at them."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import DIGEST_PATTERN, Base, Key, Now, trigger
from services.registry.tables.base_models import BaseModelRow
from services.registry.tables.common import EMPTY_OBJECT, SCHEMA
from services.registry.tables.datasets import DatasetRow
from services.registry.tables.models import ModelRow


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
        CheckConstraint("origin IN ('trained', 'imported')", name="origin"),
        CheckConstraint(
            "num_nulls(job_id, attempt, dataset_id) = CASE origin WHEN 'trained' THEN 0 ELSE 3 END",
            name="job",
        ),
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
    job_id: Mapped[int | None]
    """Unset, as are the attempt and the dataset, for an imported version."""
    attempt: Mapped[int | None]
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey(DatasetRow.id))
    base_model_id: Mapped[int] = mapped_column(ForeignKey(BaseModelRow.id))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=EMPTY_OBJECT)
    artifact_path: Mapped[str] = mapped_column(Text)
    checksum: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    lineage: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """As in manifest.json: files, base, dataset, recipe, environment."""
    created_at: Mapped[Now]
    origin: Mapped[str] = mapped_column(Text, server_default="trained")


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
