"""What was measured of versions, and the gates before their promotion."""

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import DIGEST_PATTERN, Base, Key, Now
from services.registry.tables.common import EMPTY_OBJECT, SCHEMA, request_columns
from services.registry.tables.datasets import DatasetRow
from services.registry.tables.models import ModelRow
from services.registry.tables.versions import VersionRow

METRIC_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
SPLITS = "split IN ('train', 'valid', 'test', 'all')"


class EvaluationRow(Base):
    """A measured value; its role may only add and read."""

    __tablename__ = "evaluations"
    __table_args__ = (
        CheckConstraint(f"subject_digest ~ '{DIGEST_PATTERN}'", name="subject_digest"),
        CheckConstraint(f"metric ~ '{METRIC_PATTERN}'", name="metric"),
        # To Postgres NaN is more than Infinity.
        CheckConstraint("value > '-Infinity' AND value < 'Infinity'", name="value"),
        CheckConstraint(f"dataset_digest ~ '{DIGEST_PATTERN}'", name="dataset_digest"),
        CheckConstraint(SPLITS, name="split"),
        CheckConstraint("jsonb_typeof(how) = 'object'", name="how"),
        *request_columns(),
        ForeignKeyConstraint(["model_id", "version"], [VersionRow.model_id, VersionRow.version]),
        Index(None, "model_id", "id"),
        # The newest of each version and measure.
        Index(
            "ix_evaluations_measure",
            *("model_id", "metric", "dataset_digest", "split", "version", "id"),
        ),
        Index(None, "dataset_id"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id))
    version: Mapped[int | None]
    """Unset when the base model alone was measured."""
    subject_digest: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    value: Mapped[float] = mapped_column(Double)
    dataset_id: Mapped[int] = mapped_column(ForeignKey(DatasetRow.id))
    dataset_digest: Mapped[str] = mapped_column(Text)
    split: Mapped[str] = mapped_column(Text)
    how: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=EMPTY_OBJECT)
    request_id: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Now]


class GateRow(Base):
    """What a model asks of a version before it is promoted."""

    __tablename__ = "promotion_gates"
    __table_args__ = (
        CheckConstraint(f"metric ~ '{METRIC_PATTERN}'", name="metric"),
        CheckConstraint("direction IN ('lower', 'higher')", name="direction"),
        CheckConstraint("tolerance >= 0 AND tolerance < 'Infinity'", name="tolerance"),
        CheckConstraint(SPLITS, name="split"),
        Index(None, "dataset_id"),
        {"schema": SCHEMA},
    )
    model_id: Mapped[int] = mapped_column(ForeignKey(ModelRow.id), primary_key=True)
    metric: Mapped[str] = mapped_column(Text)
    direction: Mapped[str] = mapped_column(Text)
    tolerance: Mapped[float] = mapped_column(Double)
    dataset_id: Mapped[int] = mapped_column(ForeignKey(DatasetRow.id))
    split: Mapped[str] = mapped_column(Text)
    aliases: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Empty: every alias."""
    updated_at: Mapped[Now]
