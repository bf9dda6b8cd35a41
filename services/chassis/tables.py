"""What the tables of every service share: one MetaData, names of constraints, common columns."""

from datetime import datetime
from typing import Annotated

from sqlalchemy import DDL, DateTime, Identity, Integer, MetaData, Table, event, func
from sqlalchemy.orm import DeclarativeBase, mapped_column

from services.chassis.names import NAME

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Key = Annotated[int, mapped_column(Integer, Identity(always=True), primary_key=True)]
"""An int32 that Postgres assigns."""
Time = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
"""A time by Postgres's clock, so that the clocks of processes never disagree."""

NAME_PATTERN = f"^{NAME}$"
DIGEST_PATTERN = "^[0-9a-f]{64}$"


class Base(DeclarativeBase):
    """The declarative base; foreign keys across schemas stand in migrations/metadata.py."""

    metadata = MetaData(naming_convention=NAMES)


def trigger(table: object, *statements: str) -> None:
    """Create functions and triggers together with a table, as the migrations do."""
    if not isinstance(table, Table):
        raise TypeError(f"{table!r} is no table")
    for statement in statements:
        ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
        event.listen(table, "after_create", ddl)
