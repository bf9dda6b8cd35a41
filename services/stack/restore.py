"""`mlx-hub restore`: a backup becomes a hub, in an empty home only, every digest checked."""

import hashlib
import os
from collections import defaultdict
from pathlib import Path

import migrations
from services.stack import store
from services.stack.backup import HUB, MLFLOW, mlflow_url
from services.stack.errors import StackError
from services.stack.settings import StackSettings
from services.stack.stack import Say, Stack
from services.stack.vault import Entry, Manifest, Meter, Vault, check_room, copy


def restore(settings: StackSettings, source: Path, name: str, say: Say, meter: Meter) -> Manifest:
    """Bring a backup in, the newest if none is named; the hub is not running afterwards."""
    vault = Vault(source)
    manifest = vault.read(name)
    roots = {
        "home": settings.home,
        "archive": settings.storage_archive_path,
        "cold": settings.storage_cold_path,
    }
    _check(settings, vault, manifest, roots)
    stack = Stack(settings, say)
    with stack.databases() as (url, tracking):
        stack.home.restoring.touch()
        say(f"copying {len(manifest.files)} files")
        meter.expect(sum(e.size for e in manifest.files if e.root != "database"))
        for entry in manifest.files:
            if entry.root != "database":
                _copy(vault, entry, roots[entry.root], meter)
        say("filling the database")
        targets = {f"{HUB}.dump": url, f"{MLFLOW}.dump": mlflow_url(settings, url)}
        store.make_roles(url)
        for entry in manifest.files:
            if entry.root == "database" and (target := targets[entry.path]):
                _verify(vault, entry)
                store.load(target, vault.place(entry.sha256))
        stack.migrate(url, tracking)
        _compare(url, roots)
        stack.home.restoring.unlink()
    return manifest


def _check(
    settings: StackSettings, vault: Vault, manifest: Manifest, roots: dict[str, Path]
) -> None:
    """Refuse what can't end well, before anything is written."""
    for root in (*roots.values(), settings.storage_active_path):
        if root.exists() and any(root.iterdir()):
            raise StackError(
                f"{root} is not empty, and a restore never mixes two hubs; choose another "
                "MLX_HUB_HOME, or move what is there away."
            )
    if settings.database_url and not store.is_empty(settings.database_url):
        raise StackError("The database of DATABASE_URL is not empty; create a new one for it.")
    known = Path(migrations.__file__).parent / "versions"
    if not list(known.glob(f"{manifest.revision}_*.py")):
        raise StackError(
            f"The backup is of revision {manifest.revision} (hub {manifest.hub_version}), this "
            f"release knows up to {migrations.HEAD}; restore with a release as new as that."
        )
    missing = [e.path for e in manifest.files if not vault.has(e.sha256, e.size)]
    if missing:
        raise StackError(
            f"{len(missing)} of {len(manifest.files)} files of the backup are missing or cut off, "
            f"{missing[0]} among them; take another backup (--name) or another copy of it."
        )
    sizes: defaultdict[Path, int] = defaultdict(int)
    for entry in manifest.files:
        # A dump becomes a database about four times as large.
        factor = 4 if entry.root == "database" else 1
        sizes[roots.get(entry.root, settings.home)] += factor * entry.size
    for root, size in sizes.items():
        check_room(root, size, "restore")


def _copy(vault: Vault, entry: Entry, root: Path, meter: Meter) -> None:
    target = (root / entry.path).resolve()
    if not target.is_relative_to(root.resolve()):
        raise StackError(f"{entry.path} leaves its folder; this is no backup of the hub's.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy(vault.place(entry.sha256), target, meter.advance) != entry.sha256:
        raise _damaged(entry)
    target.chmod(entry.mode)
    os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))


def _verify(vault: Vault, entry: Entry) -> None:
    with vault.place(entry.sha256).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            raise _damaged(entry)


def _damaged(entry: Entry) -> StackError:
    return StackError(
        f"{entry.path} is damaged in the backup: its SHA-256 is not its name. Take another backup "
        "(--name) or another copy of this one; empty the home before."
    )


def _compare(url: str, roots: dict[str, Path]) -> None:
    """Every file that a row names has to be there."""
    with store.moment(url) as moment:
        for wanted in moment.files:
            path = roots["cold" if wanted.cold else "archive"] / wanted.path
            if not path.is_file() or path.stat().st_size != wanted.size:
                raise StackError(f"{wanted.path} is on record and not in the backup.")
