"""`python -m migrations upgrade [REV] | downgrade REV | current`, on DATABASE_URL."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, exc, text
from sqlalchemy.engine import URL, make_url

from services.chassis.database import VERSION_TABLE
from services.chassis.settings import mask

# Two starters of one database wait for each other; the number is ours alone.
LOCK = 0x6D6C7868


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give 2 with one line on stderr when that can't work."""
    options = _parser().parse_args(arguments)
    try:
        engine = create_engine(_url(), connect_args={"connect_timeout": 5})
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _run(options, connection)
    except (exc.ArgumentError, exc.NoSuchModuleError) as error:
        return _fail(f"DATABASE_URL is no URL of a Postgres database: {error}")
    except exc.OperationalError as error:
        return _fail(f"the database of DATABASE_URL does not answer: {_first_line(error)}")
    except exc.ProgrammingError as error:
        return _fail(
            f"the database refused: {_first_line(error)}; the user of DATABASE_URL must own the "
            "database, and create the roles mlx_hub_registry and mlx_hub_trainer or be a member"
        )
    except CommandError as error:
        return _fail(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade", help="bring the database to a revision")
    upgrade.add_argument("revision", nargs="?", default="head")
    downgrade = commands.add_parser("downgrade", help="take revisions back; `base` is all of them")
    downgrade.add_argument("revision")
    commands.add_parser("current", help="print the database's revision, or `none`")
    return parser


def _run(options: argparse.Namespace, connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent))
    if options.command == "upgrade":
        command.upgrade(config, options.revision)
    elif options.command == "downgrade":
        command.downgrade(config, options.revision)
    else:
        where = {"version_table": VERSION_TABLE, "version_table_schema": "public"}
        print(MigrationContext.configure(connection, opts=where).get_current_revision() or "none")


def _url() -> URL:
    try:
        url = make_url(os.environ.get("DATABASE_URL", ""))
    except ValueError:
        raise exc.ArgumentError("its port is no number") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise exc.ArgumentError("it has to begin with postgresql://")
    return url.set(drivername="postgresql+psycopg")


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]


def _fail(message: str) -> int:
    print(mask(message), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
