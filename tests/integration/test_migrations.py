"""The history of the schema: up, down, up, and equal to the tables of the code."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine, make_url, text

import migrations
from migrations.__main__ import main
from migrations.metadata import METADATA, SCHEMAS
from services.chassis import database
from services.chassis.errors import Unavailable
from services.stack.postgres import binary
from tests.fixtures.seeded import SEED
from tests.integration.test_migrations_rules import BOTH_END

type Migrate = Callable[..., tuple[int, str, str]]


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.fixture
def migrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Migrate:
    """Run the command in this process; give its exit code, output and complaint."""

    def run(url: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("DATABASE_URL", url)
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def dump(url: str) -> list[str]:
    schemas = [f"--schema={schema}" for schema in SCHEMAS]
    shown = subprocess.run(
        [binary("pg_dump"), "--schema-only", "--no-owner", "--no-privileges", *schemas, plain(url)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # pg_dump frames its output in a random word.
    return [line for line in shown.splitlines() if not line.startswith("\\")]


def test_the_constant_is_the_head_of_the_history() -> None:
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_heads() == [migrations.HEAD]


def test_up_down_and_up_again(empty_database_url: str, migrate: Migrate) -> None:
    url = empty_database_url
    assert migrate(url, "current") == (0, "none\n", "")
    assert migrate(url, "upgrade")[0] == 0
    first = dump(url)
    assert migrate(url, "upgrade")[0] == 0, "a second time changes nothing"
    assert migrate(url, "current")[1] == f"{migrations.HEAD}\n"
    assert migrate(url, "downgrade", "base")[0] == 0
    with psycopg.connect(plain(url)) as connection:
        left = "SELECT nspname FROM pg_namespace WHERE nspname IN ('registry', 'trainer')"
        assert connection.execute(left).fetchall() == []
    assert migrate(url, "upgrade")[0] == 0
    assert dump(url) == first


def test_deleted_models_come_back_under_another_name(database_url: str, migrate: Migrate) -> None:
    """Revision 0001 knows no deletion, and a name may have been taken again."""
    with psycopg.connect(plain(database_url)) as connection:
        connection.execute(SEED.encode())
        connection.execute(BOTH_END.encode())
        connection.execute("UPDATE registry.models SET deleted_at = now()")
        connection.execute(
            "INSERT INTO registry.models (name, task_type, description, base_model_id)"
            " VALUES ('bot', 'text-generation', '', 1)"
        )
        connection.execute(
            "INSERT INTO registry.model_events (model_id, type, version)"
            " VALUES (2, 'created', 0), (2, 'updated', 0)"
        )
    assert migrate(database_url, "downgrade", "0001")[0] == 0
    with psycopg.connect(plain(database_url)) as connection:
        names = connection.execute("SELECT name FROM registry.models ORDER BY id").fetchall()
        types = connection.execute("SELECT type FROM registry.model_events").fetchall()
    assert (names, types) == ([("bot-deleted-1",), ("bot",)], [("created",)])
    assert migrate(database_url, "upgrade")[0] == 0


def test_the_migrated_schema_is_the_one_of_the_code(
    database_url: str, empty_database_url: str
) -> None:
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        for schema in SCHEMAS:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        METADATA.create_all(connection)
    engine.dispose()
    assert dump(database_url) == dump(empty_database_url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "DATABASE_URL"),
        ("sqlite:///x", "postgresql://"),
        ("postgresql://u:hidden@127.0.0.1:1/x", "does not answer"),
        ("postgresql://u:hidden@127.0.0.1:port/x", "port"),
    ],
)
def test_a_bad_url_is_one_clear_line(url: str, why: str, migrate: Migrate) -> None:
    code, _, complaint = migrate(url, "upgrade")
    assert code == 2
    assert len(complaint.splitlines()) == 1
    assert why in complaint
    assert "hidden" not in complaint


def test_an_unknown_revision_is_one_clear_line(database_url: str, migrate: Migrate) -> None:
    code, _, complaint = migrate(database_url, "upgrade", "nowhere")
    assert (code, len(complaint.splitlines())) == (2, 1)


async def test_servers_refuse_another_revision(database_url: str, empty_database_url: str) -> None:
    for url, revision, fits in (
        (database_url, migrations.HEAD, True),
        (database_url, "9999", False),
        (empty_database_url, migrations.HEAD, False),
    ):
        engine = database.create_engine(url, "mlx_hub_registry")
        if fits:
            await database.check_revision(engine, revision)
        else:
            with pytest.raises(Unavailable, match="mlx-hub up"):
                await database.check_revision(engine, revision)
        await engine.dispose()


def _as_user(url: str, rights: str) -> str:
    """Make a user of this name's database and give its URL."""
    parsed = make_url(url)
    name = f"{parsed.database}_user"
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN {rights}".encode())
        connection.execute(f"ALTER DATABASE {parsed.database} OWNER TO {name}".encode())
    return parsed.set(username=name).render_as_string(hide_password=False)


def _forget_user(url: str) -> None:
    parsed = make_url(url)
    with psycopg.connect(plain(url), autocommit=True) as connection:
        name = f"{parsed.database}_user"
        connection.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


async def test_a_member_of_the_roles_needs_no_superuser(
    empty_database_url: str, migrated_template: str, migrate: Migrate
) -> None:
    """The template's migration has made the roles; this user may act as them and no more."""
    url = _as_user(empty_database_url, "IN ROLE mlx_hub_registry, mlx_hub_trainer")
    assert migrate(url, "upgrade")[0] == 0
    for role in ("mlx_hub_registry", "mlx_hub_trainer"):
        engine = database.create_engine(url, role)
        await database.check_revision(engine, migrations.HEAD)
        await engine.dispose()
    assert migrate(url, "downgrade", "base")[0] == 0, "the roles stay: other databases use them"
    _forget_user(empty_database_url)


def test_a_stranger_to_the_roles_is_told_what_to_do(
    empty_database_url: str, migrated_template: str, migrate: Migrate
) -> None:
    code, _, complaint = migrate(_as_user(empty_database_url, ""), "upgrade")
    assert (code, len(complaint.splitlines())) == (2, 1)
    assert "be a member" in complaint
    assert migrate(empty_database_url, "current")[1] == "none\n", "nothing was half done"
    _forget_user(empty_database_url)


def lineages(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(plain(url)) as connection:
        return connection.execute("SELECT lineage FROM registry.versions").fetchall()


def test_a_lineage_that_earlier_releases_can_not_read_is_kept_from_them(
    database_url: str, migrate: Migrate
) -> None:
    split = {"test_rows": 1, "split_seed": 2, "validation_fraction": 0.5, "test_fraction": 0.5}
    old = {"base_source": "folder", "base_revision": "", "train_rows": 1}
    with psycopg.connect(plain(database_url)) as connection:
        connection.execute(SEED.encode())
        connection.execute("UPDATE registry.versions SET lineage = %s", [Jsonb({**old, **split})])
        connection.execute("UPDATE registry.versions SET status = 'ready'")
    assert migrate(database_url, "downgrade", "0007")[0] == 0
    assert lineages(database_url) == [(old,)]
    code, _, complaint = migrate(database_url, "downgrade", "0003")
    assert (code, len(complaint.splitlines())) == (2, 1)
    assert "1 version(s)" in complaint
    assert "0004" in complaint
    assert migrate(database_url, "current")[1] == "0007\n", "nothing was half done"
    assert migrate(database_url, "upgrade")[0] == 0
    assert lineages(database_url) == [(old,)]
    assert migrate(database_url, "downgrade", "base")[0] == 0, "nobody is left to read it"
