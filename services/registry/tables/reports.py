"""Finished dataset reports: a second call is a read."""

from sqlalchemy import CheckConstraint, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import DIGEST_PATTERN, Base, Now
from services.registry.tables.common import SCHEMA


class ReportRow(Base):
    """A report by all that it depends on; never changed, and deleted with the last of them."""

    __tablename__ = "dataset_reports"
    __table_args__ = (
        CheckConstraint(f"checksum ~ '{DIGEST_PATTERN}'", name="checksum"),
        CheckConstraint(f"base_digest ~ '{DIGEST_PATTERN}'", name="base_digest"),
        {"schema": SCHEMA},
    )
    checksum: Mapped[str] = mapped_column(Text, primary_key=True)
    """Of the dataset."""
    base_digest: Mapped[str] = mapped_column(Text, primary_key=True)
    parameters: Mapped[str] = mapped_column(Text, primary_key=True)
    """As JSON, with the revision of the code that reports."""
    report: Mapped[bytes] = mapped_column(LargeBinary)
    """A mlx_hub.registry.v1.DatasetReport."""
    created_at: Mapped[Now]
