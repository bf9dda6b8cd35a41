"""Model folders that the operator imported."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import DIGEST_PATTERN, NAME_PATTERN, Base, Key, Now
from services.registry.tables.common import SCHEMA


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
        CheckConstraint(
            "source ~ '^((folder|gguf)|(wheel|huggingface):[!-~]{1,200})?$'", name="source"
        ),
        CheckConstraint(
            "source_revision = '' OR source ~ '^(wheel|huggingface):'", name="source_revision"
        ),
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
    quantization: Mapped[str] = mapped_column(Text, server_default="")
    source: Mapped[str] = mapped_column(Text, server_default="")
    source_revision: Mapped[str] = mapped_column(Text, server_default="")
