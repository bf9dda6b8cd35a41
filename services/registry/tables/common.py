"""What the registry's tables share."""

from sqlalchemy import CheckConstraint, UniqueConstraint, text

SCHEMA = "registry"
EMPTY_OBJECT = text("'{}'::jsonb")


def request_columns() -> tuple[CheckConstraint, UniqueConstraint]:
    """Give the constraints of a row that a request id makes once."""
    return (
        CheckConstraint("(request_id IS NULL) = (request_digest IS NULL)", name="request"),
        UniqueConstraint("request_id"),
    )
