"""What MLflow has still to hear."""

from typing import Any

from sqlalchemy import (
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

from services.chassis.tables import Base, Key, Now, Time
from services.registry.tables.common import SCHEMA
from services.registry.tables.models import ModelRow
from services.registry.tables.versions import VersionRow

_ZERO = text("0")


class OutboxRow(Base):
    """A model, a version or a job with news for MLflow, written in the news' own transaction."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("num_nonnulls(version_id, job_id) < 2", name="subject"),
        CheckConstraint("parked_at IS NULL OR failing_since IS NOT NULL", name="parked"),
        CheckConstraint("(last_error = '') = (failing_since IS NULL)", name="failing"),
        ForeignKeyConstraint(["model_id", "version_id"], [VersionRow.model_id, VersionRow.id]),
        UniqueConstraint("model_id", "version_id", "job_id", postgresql_nulls_not_distinct=True),
        UniqueConstraint("job_id"),
        Index(
            "ix_outbox_due", "next_attempt_at", "id", postgresql_where=text("delivered_at IS NULL")
        ),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id))
    version_id: Mapped[int | None]
    """Unset, as `job_id` is, when the news is of the model itself."""
    attempts: Mapped[int] = mapped_column(server_default=_ZERO)
    """Claims since the last delivery."""
    next_attempt_at: Mapped[Now]
    last_error: Mapped[str] = mapped_column(Text, server_default="")
    delivered_at: Mapped[Time | None]
    revision: Mapped[int] = mapped_column(server_default=_ZERO)
    """Rises with each change of a model: a delivery of an older one confirms nothing."""
    waiting_since: Mapped[Now]
    job_id: Mapped[int | None]
    reach: Mapped[int] = mapped_column(server_default=_ZERO)
    """The newest sequence that was taken of a job, delivered or not."""
    claimed_at: Mapped[Time | None]
    failing_since: Mapped[Time | None]
    deliveries: Mapped[int] = mapped_column(server_default=_ZERO)
    failures: Mapped[int] = mapped_column(server_default=_ZERO)
    parked_at: Mapped[Time | None]
    """Since when it holds back no later version, as MLflow takes others and never this."""


class TrainingFactRow(Base):
    """Something that happened to a job; gone once MLflow has it."""

    __tablename__ = "training_facts"
    __table_args__ = (
        CheckConstraint("sequence > 0", name="sequence"),
        CheckConstraint("attempt > 0", name="attempt"),
        CheckConstraint("kind IN ('started', 'measured', 'ended')", name="kind"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload"),
        {"schema": SCHEMA},
    )
    job_id: Mapped[int] = mapped_column(ForeignKey(OutboxRow.job_id), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """As services/registry/training.py encodes it."""
    occurred_at: Mapped[Time]
    created_at: Mapped[Now]
