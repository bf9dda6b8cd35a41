"""What base model and version answered to the same prompts."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import Base
from services.registry.tables.common import SCHEMA
from services.registry.tables.versions import VersionRow


class SampleRow(Base):
    """One prompt and both answers; its role adds it with the version and deletes it with the model.

    A version's samples show rows of its dataset, so they go when the model is deleted.
    """

    __tablename__ = "version_samples"
    __table_args__ = (
        CheckConstraint("number > 0", name="number"),
        CheckConstraint("jsonb_typeof(turns) = 'array'", name="turns"),
        CheckConstraint("base_tokens >= 0 AND tokens >= 0", name="tokens"),
        {"schema": SCHEMA},
    )
    version_id: Mapped[int] = mapped_column(ForeignKey(VersionRow.id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    turns: Mapped[list[list[Any]]] = mapped_column(JSONB)
    """Pairs of role and content."""
    base_text: Mapped[str] = mapped_column(Text)
    base_tokens: Mapped[int]
    base_cut: Mapped[bool]
    text: Mapped[str] = mapped_column(Text)
    tokens: Mapped[int]
    cut: Mapped[bool]
