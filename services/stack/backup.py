"""`mlx-hub backup`: the database of one moment, then the files it names, also of a running hub."""

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from services.stack import store
from services.stack.configured import every_setting
from services.stack.errors import StackError
from services.stack.home import Home
from services.stack.journal import copy_journal
from services.stack.settings import StackSettings
from services.stack.stack import Say, Stack
from services.stack.store import Moment, Wanted
from services.stack.vault import Entry, Manifest, Meter, Vault, check_room

HUB, MLFLOW = "mlx_hub", "mlflow"
JOURNAL = "generations.db"
TRIES = 3


class _Gone(Exception):
    """A file was deleted after the moment of the dump."""


def back_up(settings: StackSettings, target: Path, keep: int, say: Say, meter: Meter) -> str:
    """Write a backup and give its name; all but the newest `keep` go, 0 keeps all."""
    vault = Vault(target)
    roots = (settings.home, settings.storage_archive_path, settings.storage_cold_path)
    if any(vault.folder.resolve().is_relative_to(root.resolve()) for root in roots):
        raise StackError(f"{target} lies within the hub's own folders; choose a place outside.")
    with vault.opened(), _database(settings, say) as url, _full_disk_told(vault):
        for left in range(TRIES - 1, -1, -1):
            try:
                manifest = _Copying(settings, vault, url, say, meter).run()
                break
            except _Gone as gone:
                if not left:
                    raise StackError(
                        f"{gone} is on record and missing. `mlx-hub doctor --reconcile` puts the "
                        "record right; then back up again."
                    ) from None
                say("something was deleted meanwhile; taking the database once more")
        name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        vault.write(name, manifest)
        if keep:
            vault.prune(keep)
    return name


class _Copying:
    """One try."""

    def __init__(
        self, settings: StackSettings, vault: Vault, url: str, say: Say, meter: Meter
    ) -> None:
        self._settings, self._vault, self._url = settings, vault, url
        self._say, self._meter = say, meter
        self._roots = {
            "archive": settings.storage_archive_path,
            "cold": settings.storage_cold_path,
            "home": settings.home,
        }

    def run(self) -> Manifest:
        """Dump first: files never change, so those that the dump names are the right ones."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        with tempfile.TemporaryDirectory(dir=self._vault.folder, prefix=".dump-") as name:
            found = list(self._loose(Path(name)))
            with store.moment(self._url) as moment:
                self._say("dumping the database")
                dumped = Path(name, f"{HUB}.dump")
                store.dump(self._url, dumped, f"--snapshot={moment.snapshot}")
            found.append(self._take("database", dumped, dumped.name))
            self._check_room(moment)
            self._say(f"copying what is new of {len(moment.files)} stored files")
            self._meter.expect(sum(wanted.size for wanted in moment.files))
            found += [self._stored(wanted) for wanted in moment.files]
        return Manifest(
            created, version("mlx-hub"), moment.revision, every_setting()[0], tuple(found)
        )

    def _loose(self, folder: Path) -> Iterator[Entry]:
        """Take what is not on record: MLflow's side, logs of jobs, and the journal of answers."""
        if mirror := mlflow_url(self._settings, self._url):
            dumped = folder / f"{MLFLOW}.dump"
            store.dump(mirror, dumped)
            yield self._take("database", dumped, dumped.name)
            yield from self._folder("archive", "mlflow")
        yield from self._folder("home", "logs/jobs")
        if (self._settings.home / JOURNAL).is_file():
            copy_journal(self._settings.home / JOURNAL, folder / JOURNAL)
            yield self._take("home", folder / JOURNAL, JOURNAL)

    def _folder(self, root: str, below: str) -> Iterator[Entry]:
        for path in sorted((self._roots[root] / below).rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # logs come and go
                if path.is_file() and not path.is_symlink():
                    yield self._take(root, path, str(path.relative_to(self._roots[root])))

    def _take(self, root: str, source: Path, path: str) -> Entry:
        digest = self._vault.keep(source, self._meter.advance)
        return _entry(root, path, source, self._vault.place(digest).stat().st_size, digest)

    def _stored(self, wanted: Wanted) -> Entry:
        source = self._find(wanted)
        if self._vault.has(wanted.sha256, wanted.size):
            self._meter.advance(wanted.size)
        else:
            try:
                digest = self._vault.keep(source, self._meter.advance)
            except FileNotFoundError:
                raise _Gone(wanted.path) from None
            if digest != wanted.sha256:
                raise StackError(
                    f"{wanted.path} is damaged: its SHA-256 is not the recorded one. "
                    "`mlx-hub doctor` tells what to do; then back up again."
                )
        with contextlib.suppress(FileNotFoundError):
            root = "cold" if wanted.cold else "archive"
            return _entry(root, wanted.path, source, wanted.size, wanted.sha256)
        raise _Gone(wanted.path)

    def _find(self, wanted: Wanted) -> Path:
        """Look where the row says, then in the other tier: it may have moved since."""
        tiers = ("cold", "archive") if wanted.cold else ("archive", "cold")
        for tier in tiers:
            if (path := self._roots[tier] / wanted.path).is_file():
                return path
        raise _Gone(wanted.path)

    def _check_room(self, moment: Moment) -> None:
        missing = {w.sha256: w.size for w in moment.files if not self._vault.has(w.sha256, w.size)}
        check_room(self._vault.folder, sum(missing.values()), "backup")


def mlflow_url(settings: StackSettings, url: str) -> str:
    """Give the URL of MLflow's database where it is one of the hub's own."""
    own = not settings.database_url and not settings.mlflow_tracking_uri
    return url.replace(f"@/{HUB}?", f"@/{MLFLOW}?") if own else ""


def _entry(root: str, path: str, source: Path, size: int, digest: str) -> Entry:
    found = source.stat()
    return Entry(root, path, size, digest, found.st_mtime_ns, found.st_mode & 0o777)


@contextlib.contextmanager
def _database(settings: StackSettings, say: Say) -> Iterator[str]:
    """Give the running hub's database, or run it meanwhile."""
    if running := Home(settings.home).ports():
        yield str(running["database_url"])
    elif settings.database_url:
        yield settings.database_url
    elif not (settings.home / "postgres" / "data").exists():
        raise StackError(f"There is no hub in {settings.home} to back up; check MLX_HUB_HOME.")
    else:
        with Stack(settings, say).databases() as (url, _):
            yield url


@contextlib.contextmanager
def _full_disk_told(vault: Vault) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StackError(
            f"The volume of {vault.folder} is full. Nothing counts as a backup that is not whole; "
            "free some space and run it again, it goes on with what was copied."
        ) from None
