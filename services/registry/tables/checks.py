"""When the stored files were last read and compared with their recorded hashes."""

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import Base, Now
from services.registry.tables.common import SCHEMA


class CheckRow(Base):
    """The last check of an artifact: a folder of files, or a dataset's one file."""

    __tablename__ = "stored_checks"
    __table_args__ = (
        CheckConstraint("path ~ '^(base|versions|datasets)/.'", name="path"),
        Index("ix_stored_checks_damaged", "path", postgresql_where=text("damaged <> ''")),
        {"schema": SCHEMA},
    )
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    """Relative to the archive or, for an archived version, to the cold tier."""
    checked_at: Mapped[Now]
    damaged: Mapped[str] = mapped_column(Text, server_default=text("''"))
    """The first file that was missing or changed; empty when all were good."""
