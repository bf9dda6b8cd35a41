"""Immutable JSONL files."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import DIGEST_PATTERN, NAME_PATTERN, Base, Key, Now
from services.registry.tables.common import SCHEMA, request_columns


class DatasetRow(Base):
    """An immutable JSONL file."""

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),
        CheckConstraint(f"checksum ~ '{DIGEST_PATTERN}'", name="checksum"),
        CheckConstraint("schema IN ('chat', 'completion', 'text')", name="schema"),
        CheckConstraint("rows > 0", name="rows"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        *request_columns(),
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
