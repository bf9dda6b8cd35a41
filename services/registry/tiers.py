"""Where a version's files lie: hot while it can be served, cold while it is archived.

A file is never moved but copied, compared with its hash, and removed from the other side once the
row says where it is: whenever a crash comes, one whole copy is there. The cold tier keeps plain
files, since trained weights hardly compress, and may be another volume.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

from services.chassis.durable import sync_path
from services.chassis.errors import Unavailable
from services.registry import files, intact
from services.registry.artifacts import Artifacts, corrupt
from services.registry.domain import StoredFile, Version, VersionStatus
from services.registry.papers import MANIFEST
from services.registry.storage import Area, AreaKind, Orphan, Stored, Volume

log = logging.getLogger(__name__)

VERSIONS = "versions"
IMPORTS = "imports"


class Tiers:
    """The two places. Everything here blocks: call it in a thread."""

    def __init__(self, hot: Artifacts, cold: Path) -> None:
        """Know the archive, and the folder of what is archived."""
        self.hot = hot
        self.cold = Artifacts(hot.active, cold, kinds=(VERSIONS,))

    def prepare(self, live: Iterable[Version]) -> None:
        """Make the folders; a cold tier that should hold something already is never made anew."""
        self.hot.prepare()
        archived = (v.artifact_path for v in live if v.status is VersionStatus.ARCHIVED)
        if all((self.hot.archive / path).is_dir() for path in archived):
            self.cold.prepare()

    def of(self, status: VersionStatus) -> Artifacts:
        """Give the tier where a version of this status belongs."""
        return self.cold if status is VersionStatus.ARCHIVED else self.hot

    def available(self, tier: Artifacts) -> bool:
        """Tell whether a tier is there, as a volume that is not mounted is not."""
        return (tier.archive / VERSIONS).is_dir()

    def complete(self) -> bool:
        """Tell whether both are there, so that what neither holds is lost."""
        return self.available(self.hot) and self.available(self.cold)

    def require(self, tier: Artifacts) -> None:
        """Refuse to work without a tier: its absence says nothing of the files in it."""
        if not self.available(tier):
            name = "STORAGE_ARCHIVE_PATH" if tier is self.hot else "MLX_HUB_STORAGE_COLD_PATH"
            raise Unavailable(
                "DEPENDENCY_UNAVAILABLE",
                f"{name} holds no versions folder, but versions are on record; "
                "mount the volume or set the path",
                metadata={"dependency": "storage"},
            )

    def stray(self, version: Version, stored: Collection[StoredFile]) -> bool:
        """Tell whether files and status may disagree; sizes are looked at, nothing is read."""
        other = self._other(self.of(version.status))
        return bool(self._lost(version, stored)) or (other.archive / version.artifact_path).exists()

    def settle(
        self, version: Version, stored: Collection[StoredFile], *, hashed: bool
    ) -> str | None:
        """Make the files lie where the status says, from either copy; name what is lost for good.

        Without `hashed`, only sizes tell whether the copy that is in its place is whole. Raises
        OSError for a file that can't be read.
        """
        home = self.of(version.status)
        other = self._other(home)
        if not self.complete():
            return None  # what lies on a volume that is not there is not lost
        if self._lost(version, stored, hashed=hashed) is None:
            self.drop(version, stored, other)
            return None
        if self._damaged(other.archive / version.artifact_path, version, stored) is None:
            self.carry(version, stored, home)
            self.drop(version, stored, other)
            return None
        return self._damaged(home.archive / version.artifact_path, version, stored)

    def carry(self, version: Version, stored: Collection[StoredFile], goal: Artifacts) -> None:
        """Make a whole, synced copy in a tier, in place of whatever is there."""
        source = self._other(goal).archive / version.artifact_path
        self.require(goal)
        self.require(self._other(goal))
        with goal.fresh_folder(VERSIONS) as fresh:
            _copy(source, fresh)
            if lost := self._damaged(fresh, version, stored):
                raise corrupt(lost)
            self._discard(goal, version)
            goal.place(fresh, VERSIONS, Path(version.artifact_path).name, stored)

    def drop(self, version: Version, stored: Collection[StoredFile], tier: Artifacts) -> None:
        """Remove a tier's copy, but never the last whole one."""
        kept = self._other(tier)
        if kept.damage(version.artifact_path, stored, hashed=False) is None:
            self._discard(tier, version)

    def areas(self) -> tuple[Area, ...]:
        """Measure what lies where."""
        return (
            self._area(AreaKind.HOT, self.hot, VERSIONS),
            self._area(AreaKind.COLD, self.cold, VERSIONS),
            self._area(AreaKind.BASE_MODELS, self.hot, "base"),
            self._area(AreaKind.DATASETS, self.hot, "datasets"),
        )

    def volumes(self) -> tuple[Volume, ...]:
        """Measure the room that is left, for each folder that is there."""
        folders = {
            "STORAGE_ACTIVE_PATH": self.hot.active,
            "STORAGE_ARCHIVE_PATH": self.hot.archive,
            "MLX_HUB_STORAGE_COLD_PATH": self.cold.archive,
        }
        used = {name: shutil.disk_usage(f) for name, f in folders.items() if f.is_dir()}
        return tuple(Volume(name, room.free, room.total) for name, room in used.items())

    def orphans(self, known: Collection[str]) -> list[Orphan]:
        """List what no row knows, and imports that may have been killed."""
        cold = self.cold.orphans(known) if self.available(self.cold) else []
        return [*self.hot.orphans(known), *cold, *self._imports()]

    def sweep(self, known: Collection[str], grace_s: float) -> list[Orphan]:
        """Remove those that are older than the grace period."""
        cold = self.cold.sweep(known, grace_s) if self.available(self.cold) else []
        return [*self.hot.sweep(known, grace_s), *cold, *self._sweep_imports(grace_s)]

    def folder_of(self, stored: Stored) -> Path:
        """Give the folder that holds an artifact's files."""
        return (self.cold if stored.cold else self.hot).archive / stored.folder

    def _other(self, tier: Artifacts) -> Artifacts:
        return self.hot if tier is self.cold else self.cold

    def _lost(
        self, version: Version, stored: Collection[StoredFile], *, hashed: bool = False
    ) -> str | None:
        folder = self.of(version.status).archive / version.artifact_path
        if hashed:
            return self._damaged(folder, version, stored)
        lost = self.of(version.status).damage(version.artifact_path, stored, hashed=False)
        return lost or (None if (folder / MANIFEST).is_file() else MANIFEST)

    def _damaged(
        self, folder: Path, version: Version, stored: Collection[StoredFile]
    ) -> str | None:
        return intact.damaged_version(folder, Path(version.artifact_path).name, stored)

    def _discard(self, tier: Artifacts, version: Version) -> None:
        """Take a folder out of its place in one step; what then is left of it is an orphan."""
        gone = tier.archive / VERSIONS / f"{files.TEMPORARY}{uuid.uuid4().hex}"
        try:
            (tier.archive / version.artifact_path).rename(gone)
        except FileNotFoundError:
            return
        files.remove(gone)

    def _area(self, kind: AreaKind, tier: Artifacts, folder: str) -> Area:
        place = tier.archive / folder
        if not place.is_dir():
            return Area(kind, available=False, count=0, bytes=0)
        sizes = [files.measure(e)[0] for e in place.iterdir() if e.name[0] != files.TEMPORARY[0]]
        return Area(kind, available=True, count=len(sizes), bytes=sum(sizes))

    def _imports(self) -> list[Orphan]:
        """List what imports have staged; one under way keeps writing, and so stays young."""
        place = self.hot.active / IMPORTS
        entries = sorted(place.iterdir()) if place.is_dir() else []
        return [Orphan(f"{IMPORTS}/{e.name}", *files.measure(e)) for e in entries]

    def _sweep_imports(self, grace_s: float) -> list[Orphan]:
        oldest = time.time() - grace_s
        old = [orphan for orphan in self._imports() if orphan.changed_at < oldest]
        for orphan in old:
            files.remove(self.hot.active / orphan.name)
        return old


def _copy(source: Path, fresh: Path) -> None:
    """Copy all regular files of a folder, whatever lies beside the recorded ones."""
    try:
        for entry in sorted(source.iterdir()):
            with entry.open("rb") as content:
                files.write_synced(fresh / entry.name, files.chunks_of(content.fileno()))
    except FileNotFoundError as error:
        raise corrupt(Path(error.filename).name) from error
    sync_path(fresh)
