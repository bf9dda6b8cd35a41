"""Models and what happened to them."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import NAME_PATTERN, Base, Key, Now, Time, trigger
from services.registry.tables.base_models import BaseModelRow
from services.registry.tables.common import EMPTY_OBJECT, SCHEMA, request_columns


class ModelRow(Base):
    """A named line of versions."""

    __tablename__ = "models"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),
        CheckConstraint("task_type IN ('text-generation')", name="task_type"),
        CheckConstraint("char_length(description) <= 2000", name="description"),
        CheckConstraint("jsonb_typeof(tags) = 'object'", name="tags"),
        *request_columns(),
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
    tags: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=EMPTY_OBJECT)
    mlflow_experiment_id: Mapped[str] = mapped_column(Text, server_default="")
    request_id: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    deleted_at: Mapped[Time | None]
    """Rows stay, so that jobs and lineage keep what they refer to."""


class EventRow(Base):
    """Something that happened to a model; its role may only add and read."""

    __tablename__ = "model_events"
    __table_args__ = (
        CheckConstraint(
            "type IN ('created', 'trained', 'quarantined', 'updated', 'promoted', 'rolled_back',"
            " 'alias_deleted', 'archived', 'restored', 'evaluated', 'gate_set', 'gate_deleted',"
            " 'imported')",
            name="type",
        ),
        # An evaluation is a version's, or with 0 the base model's.
        CheckConstraint(
            "type = 'evaluated' OR"
            " (type IN ('created', 'updated', 'gate_set', 'gate_deleted')) = (version = 0)",
            name="version",
        ),
        CheckConstraint("jsonb_typeof(details) = 'object'", name="details"),
        Index(None, "model_id", "id"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id))
    type: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default=text("0"))
    details: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=EMPTY_OBJECT)
    created_at: Mapped[Now]


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
