"""One moment of the hub's database: the files that its rows name, and a dump of that moment."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import psycopg
from psycopg import conninfo, sql

from services.chassis.settings import mask
from services.stack.errors import StackError
from services.stack.postgres import binary

# What has to be whole: neither failed versions nor those of deleted models have files.
_ON_RECORD = """
SELECT artifact_path, lineage -> 'files' || coalesce(lineage -> 'papers', '[]'), status = 'archived'
  FROM registry.versions v JOIN registry.models m ON m.id = v.model_id
 WHERE status IN ('ready', 'archived') AND m.deleted_at IS NULL
UNION ALL SELECT artifact_path, files, false FROM registry.base_models
UNION ALL SELECT 'datasets', jsonb_build_array(jsonb_build_object(
  'name', checksum || '.jsonl', 'size', size_bytes, 'sha256', checksum)), false
  FROM registry.datasets
"""


@dataclass(frozen=True, order=True)
class Wanted:
    """A stored file that a row names."""

    path: str
    """Below the archive, or below the cold tier."""
    size: int
    sha256: str
    cold: bool


@dataclass(frozen=True)
class Moment:
    """A snapshot that stays open, for `pg_dump --snapshot`."""

    snapshot: str
    revision: str
    files: tuple[Wanted, ...]


def plain(url: str) -> str:
    """Give a SQLAlchemy URL as libpq reads it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


@contextlib.contextmanager
def moment(url: str) -> Iterator[Moment]:
    """Hold one moment of a database."""
    with _connected(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        snapshot = _one(connection, "SELECT pg_export_snapshot()")
        revision = _one(connection, "SELECT version_num FROM public.mlx_hub_alembic_version")
        rows = connection.execute(_ON_RECORD).fetchall()
        files = {
            Wanted(str(PurePosixPath(folder, f["name"])), f["size"], f["sha256"], cold)
            for folder, described, cold in rows
            for f in described
        }
        yield Moment(snapshot, revision, tuple(sorted(files)))


def is_empty(url: str) -> bool:
    """Tell whether a database has no table of anybody's."""
    count = (
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    )
    with _connected(url) as connection:
        return int(_one(connection, count)) == 0


def make_roles(url: str) -> None:
    """Make the services' roles, which belong to the server and are in no dump."""
    with _connected(url, autocommit=True) as connection:
        for role in ("mlx_hub_registry", "mlx_hub_trainer"):
            name = sql.Identifier(role)
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))


def dump(url: str, target: Path, *options: str) -> None:
    """Write one database into a file, in pg_dump's own form."""
    _run("pg_dump", url, "--format=custom", "--no-owner", f"--file={target}", *options)


def load(url: str, source: Path) -> None:
    """Fill an empty database from such a file, all or nothing."""
    _run("pg_restore", url, "--no-owner", "--single-transaction", "--exit-on-error", str(source))


def _run(program: str, url: str, *words: str) -> None:
    """Run a client of Postgres; its password is in no command line."""
    given = conninfo.conninfo_to_dict(plain(url))
    secret = {"PGPASSWORD": str(given.pop("password"))} if "password" in given else {}
    argv = [str(binary(program)), f"--dbname={conninfo.make_conninfo('', **given)}", *words]
    done = subprocess.run(
        argv, env={**os.environ, **secret}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"{program} failed: {done.stderr.strip()}")


@contextlib.contextmanager
def _connected(
    url: str, *, autocommit: bool = False
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    try:
        with psycopg.connect(plain(url), connect_timeout=5, autocommit=autocommit) as connection:
            yield connection
    except psycopg.errors.UndefinedTable:
        raise StackError(
            "The database is no hub's, or was never migrated; start a hub on it first."
        ) from None
    except psycopg.Error as error:
        said = mask(str(error).strip()).splitlines()
        raise StackError(f"The database does not do it: {said[0] if said else error}") from None


def _one(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> str:
    row = connection.execute(query.encode()).fetchone()
    return str(row[0]) if row else ""
