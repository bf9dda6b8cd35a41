"""The database as a service opens it: its own role, bounded waits, the right revision."""

import re
from typing import Any

from sqlalchemy import column, exc, select, table
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.chassis.errors import HubError, Invalid, Unavailable

VERSION_TABLE = "mlx_hub_alembic_version"


def create_engine(url: str, role: str, **options: Any) -> AsyncEngine:
    """Open an engine whose every connection acts as `role` and never waits for long."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    server_options = (
        f"-c role={role} -c timezone=UTC -c statement_timeout=20000 "
        "-c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
    )
    connect = {"options": server_options, "connect_timeout": 5, "application_name": role}
    return create_async_engine(
        parsed, pool_pre_ping=True, pool_size=5, max_overflow=5, connect_args=connect, **options
    )


async def check_revision(engine: AsyncEngine, expected: str) -> None:
    """Refuse to serve on another revision than the code was written for."""
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(
                select(column("version_num")).select_from(table(VERSION_TABLE))
            )
    except exc.ProgrammingError:
        found = None
    except exc.SQLAlchemyError as error:
        if (known := translate(error)) is None:
            raise
        raise known from error
    if found != expected:
        raise Unavailable(
            "DEPENDENCY_UNAVAILABLE",
            f"the database is at revision {found or 'none'}, this release needs {expected}; "
            "run `mlx-hub up`, which migrates it",
            metadata={"dependency": "database"},
        )


def translate(error: Exception) -> HubError | None:
    """Give the error to show for a failure of the database itself, or None."""
    # The one character that the contract allows in a text and Postgres can't store.
    if isinstance(error, exc.DataError) and re.search(r"NUL|\\u0000", str(error.orig)):
        return Invalid(
            "INVALID_FIELD", "a text holds a NUL character; leave it out", field="request"
        )
    lost = isinstance(error, exc.DBAPIError) and (
        error.connection_invalidated or isinstance(error, exc.OperationalError)
    )
    if lost or isinstance(error, exc.TimeoutError):
        return Unavailable(
            "DEPENDENCY_UNAVAILABLE",
            "the database does not answer; try again",
            metadata={"dependency": "database"},
            retry_after_s=1,
        )
    return None
