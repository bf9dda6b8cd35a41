"""The embedded Postgres: as root or not, under long paths, after crashes."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.stack import postgres as module
from services.stack.accounts import Account, account_for, reachable
from services.stack.errors import StackError
from services.stack.postgres import SOCKET_LIMIT, Postgres
from tests.fixtures.postgres import FAST


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that every user may pass through, as a home outside of /root is."""
    with tempfile.TemporaryDirectory(prefix="mlx-hub-pg-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@pytest.fixture
def server(folder: Path) -> Iterator[Postgres]:
    server = make(folder)
    yield server
    server.stop()


def make(folder: Path) -> Postgres:
    return Postgres(folder / "postgres", folder / "postgres.log", options=FAST)


def query(server: Postgres, text: str, database: str = "postgres") -> object:
    url = server.url(database).replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return cursor.fetchone() if cursor.description else None


def test_data_persist_over_a_restart(server: Postgres) -> None:
    server.start()
    for _ in range(2):
        server.ensure_database("mlx_hub")
    query(server, "CREATE TABLE kept AS SELECT 7 AS number", "mlx_hub")
    server.stop()
    assert server.exit_code() == 0
    server.start()
    assert query(server, "SELECT number FROM kept", "mlx_hub") == (7,)


def test_nobody_listens_on_tcp_and_the_socket_is_private(server: Postgres) -> None:
    server.start()
    assert query(server, "SHOW listen_addresses") == ("",)
    for part in ("data", "socket"):
        assert (server.folder / part).stat().st_mode & 0o077 == 0


def test_two_servers_run_side_by_side(server: Postgres, folder: Path) -> None:
    second = Postgres(folder / "second", folder / "second.log", options=FAST)
    server.start()
    try:
        second.start()
        server.ensure_database("first")
        second.ensure_database("second")
        with pytest.raises(psycopg.OperationalError):
            query(second, "SELECT 1", "first")
    finally:
        second.stop()


def test_a_crash_and_a_stale_lock_file_are_survived(folder: Path) -> None:
    server = Postgres(folder / "postgres", folder / "postgres.log")
    server.start()
    query(server, "CREATE TABLE kept AS SELECT 7 AS number")
    assert server.process
    os.kill(server.process.pid or 0, 9)
    server.process.stop(30)
    lock = server.folder / "data" / "postmaster.pid"
    _, rest = lock.read_text().split("\n", 1)
    # The old process id now belongs to another program: this one.
    lock.write_text(f"{os.getpid()}\n{rest}")
    server.start()
    assert query(server, "SELECT number FROM kept") == (7,)
    server.stop()


def test_an_unreadable_lock_file_is_dropped(server: Postgres) -> None:
    server.start()
    server.stop()
    (server.folder / "data" / "postmaster.pid").write_text("")
    server.start()
    assert query(server, "SELECT 1") == (1,)


def test_a_half_made_cluster_is_made_anew(server: Postgres) -> None:
    half = server.folder / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert query(server, "SELECT 1") == (1,)
    assert not half.exists()


def test_data_of_another_major_version_are_refused(server: Postgres) -> None:
    server.start()
    server.stop()
    (server.folder / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match="written by Postgres 12, this release brings"):
        server.start()


def test_a_server_that_can_not_start_shows_its_log(folder: Path) -> None:
    server = Postgres(
        folder / "postgres", folder / "postgres.log", options={**FAST, "shared_buffers": "nonsense"}
    )
    with pytest.raises(StackError, match="shared_buffers"):
        server.start()


def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(mode=0o711, parents=True)
    deep.parent.chmod(0o711)
    server = make(deep)
    server.start()
    try:
        assert query(server, "SELECT 1") == (1,)
        sockets = Path(server.url("x").split("host=")[1].split("&")[0])
        assert len(str(sockets)) < SOCKET_LIMIT
        assert sockets.parent == Path(tempfile.gettempdir())
    finally:
        server.stop()
    assert not sockets.exists()


def test_a_strangers_socket_folder_is_refused(folder: Path) -> None:
    trap = folder / "trap"
    trap.mkdir()
    trap.chmod(0o777)
    link = folder / "link"
    link.symlink_to(folder)
    for found in (trap, link):
        with pytest.raises(StackError, match="belongs to somebody else or is open to others"):
            module._private(found, Account())


def test_a_home_of_mode_700_works_too(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    assert not reachable(private / "postgres")
    server = make(private)
    server.start()
    try:
        assert query(server, "SELECT 1") == (1,)
    finally:
        server.stop()


def test_data_move_between_accounts(folder: Path) -> None:
    """A home that was opened or closed to others meanwhile is still ours."""
    home = folder / "home"
    for mode in (0o711, 0o700, 0o711):
        home.mkdir(exist_ok=True)
        home.chmod(mode)
        server = make(home)
        server.start()
        assert query(server, "SELECT 1") == (1,)
        server.stop()


def test_without_any_account_root_is_told_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o700)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("services.stack.accounts._runs", lambda _: False)
    with pytest.raises(StackError, match="MLX_HUB_HOME"):
        account_for(folder)


AS_NOBODY = """
import os, pwd, sys
from pathlib import Path
import psutil
from services.stack.postgres import Postgres, binary
from tests.fixtures.postgres import FAST
binary("postgres")
if os.geteuid() == 0:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
folder = Path(sys.argv[1])
for _ in range(2):
    server = Postgres(folder / "postgres", folder / "postgres.log", options=FAST)
    server.start()
    server.ensure_database("mlx_hub")
    server.stop()
print(os.geteuid(), (folder / "postgres" / "data").stat().st_uid)
"""


def test_an_ordinary_user_runs_it_as_itself(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    argv = [sys.executable, "-c", AS_NOBODY, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    user, owner = done.stdout.split()
    assert user == owner != "0"
