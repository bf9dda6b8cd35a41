"""What MLflow has still to hear."""

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import Base, Key, Now, Time
from services.registry.tables.common import SCHEMA
from services.registry.tables.models import ModelRow
from services.registry.tables.versions import VersionRow


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
