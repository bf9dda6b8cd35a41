"""Published folders: put in place in one step, verified on every load, swept after a crash."""

import contextlib
import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.chassis.durable import sync_path
from services.chassis.errors import DataLoss, Invalid
from services.registry import files, intact
from services.registry.domain import StoredFile
from services.registry.files import checksum_of
from services.registry.papers import MANIFEST
from services.registry.storage import Orphan

log = logging.getLogger(__name__)

# Files up to this size are hashed each time, whatever their time says.
ALWAYS_READ = 64 * 1024
KINDS = ("base", "versions", "datasets")


class Artifacts:
    """The files of STORAGE_ARCHIVE_PATH. Everything here blocks: call it in a thread."""

    def __init__(self, active: Path, archive: Path, kinds: Collection[str] = KINDS) -> None:
        """Know the two roots; `prepare` makes their folders."""
        self.active = active
        self.archive = archive
        self._kinds = kinds
        self._verified: dict[Path, tuple[int, int, str]] = {}
        # What is being put in place must not be swept in the same moment.
        self._sweeping = threading.Lock()

    def prepare(self) -> None:
        """Make the archive's folders."""
        for kind in self._kinds:
            (self.archive / kind).mkdir(parents=True, exist_ok=True)
        self.active.mkdir(parents=True, exist_ok=True)

    def publish_version(
        self, staged_path: str, stored: Collection[StoredFile], papers: Mapping[str, bytes]
    ) -> str:
        """Copy a staged adapter into the archive with its papers.

        The folder's name is the digest of all in it, the papers included: two
        jobs that train the very same weights keep a manifest each.
        """
        with self.fresh_folder("versions") as folder:
            self._copy_staged(staged_path, stored, folder)
            sync_path(folder)
            self._compare(folder, stored)
            for name, content in papers.items():
                files.write_synced(folder / name, iter([content]))
            sync_path(folder)
            everything = (*stored, *(files.hash_file(folder / name) for name in papers))
            return self.place(folder, "versions", checksum_of(everything), everything)

    @contextmanager
    def fresh_folder(self, kind: str) -> Iterator[Path]:
        """Give a new folder beside the final place; whatever is left in it goes away."""
        folder = self.archive / kind / f"{files.TEMPORARY}{uuid.uuid4().hex}"
        try:
            with files.full_disk_named(self.archive):
                folder.mkdir(parents=True)
                yield folder
        finally:
            files.remove(folder)

    def place(self, folder: Path, kind: str, digest: str, stored: Collection[StoredFile]) -> str:
        """Rename a finished folder to its digest and give that place, relative to the archive.

        One that is there already and whole is kept; a damaged one is replaced.
        """
        target = self.archive / kind / digest
        name = f"{kind}/{digest}"
        with self._sweeping:
            try:
                folder.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if _whole(target, stored):
                    os.utime(target)  # young again: a sweep keeps it until its row is there
                    return name
                damaged = folder.with_name(f"{files.TEMPORARY}{uuid.uuid4().hex}")
                target.rename(damaged)
                folder.rename(target)
                files.remove(damaged)
            sync_path(target.parent)
        return name

    def place_file(self, fresh: Path, name: str) -> None:
        """Rename a sealed file to its place; equal bytes that are there already give way."""
        target = self.archive / name
        with self._sweeping:
            fresh.rename(target)
            sync_path(target.parent)

    def verify_version(
        self, artifact_path: str, stored: Collection[StoredFile], papers: Collection[StoredFile]
    ) -> None:
        """Refuse a version whose files or papers are not what was recorded."""
        self.verify(artifact_path, (*stored, *papers))
        if not papers:
            self._verify_manifest(artifact_path, stored)

    def _verify_manifest(self, artifact_path: str, stored: Collection[StoredFile]) -> None:
        """Know a manifest that the row, an old one, doesn't name by the folder's name."""
        try:
            manifest = files.hash_file(self.archive / artifact_path / MANIFEST)
        except OSError:
            manifest = StoredFile(MANIFEST, 0, "")
        if checksum_of((*stored, manifest)) != Path(artifact_path).name:
            raise corrupt(MANIFEST)

    def verify(self, artifact_path: str, stored: Iterable[StoredFile]) -> None:
        """Refuse files that are not what was recorded."""
        if name := self.damage(artifact_path, stored, hashed=True):
            raise corrupt(name)

    def damage(
        self, artifact_path: str, stored: Iterable[StoredFile], *, hashed: bool
    ) -> str | None:
        """Name the first file that is missing or changed; without `hashed`, look at sizes only.

        A large file whose time is the one known as good is taken for it; `intact` reads all.
        """
        folder = self.archive / artifact_path
        for file in stored:
            try:
                seen = (folder / file.name).lstat()
                good = seen.st_size == file.size
                if good and hashed:
                    good = self._hash_holds(folder / file.name, file, seen)
            except OSError:
                good = False
            if not good:
                return file.name
        return None

    def _hash_holds(self, path: Path, file: StoredFile, seen: os.stat_result) -> bool:
        """Compare hashes, reading a large file only if its time is not the one known as good.

        Who loads its bytes hashes those (ADR 0014); resolving a name must stay cheap.
        """
        mark = (seen.st_mtime_ns, seen.st_size, file.sha256)
        known = seen.st_mtime_ns == file.mtime_ns or self._verified.get(path) == mark
        if known and seen.st_size > ALWAYS_READ:
            return True
        if files.hash_file(path).sha256 != file.sha256:
            return False
        self._verified[path] = mark
        return True

    def orphans(self, known: Collection[str]) -> list[Orphan]:
        """List what no row knows."""
        found = []
        for kind in self._kinds:
            for entry in sorted((self.archive / kind).iterdir()):
                if (name := f"{kind}/{entry.name}") not in known:
                    with contextlib.suppress(FileNotFoundError):  # gone in this moment
                        found.append(Orphan(name, files.measure(entry)[0], _changed(entry)))
        return found

    def sweep(self, known: Collection[str], grace_s: float) -> list[Orphan]:
        """Remove what no row knows, once it is older than the grace period."""
        oldest = time.time() - grace_s
        removed = []
        for orphan in self.orphans(known):
            entry = self.archive / orphan.name
            with self._sweeping, contextlib.suppress(FileNotFoundError):
                if _changed(entry) < oldest:  # looked at again: it may be taken over
                    files.remove(entry)
                    removed.append(orphan)
        return removed

    def _copy_staged(self, staged: str, stored: Collection[StoredFile], target: Path) -> None:
        try:
            with files.folder_beneath(self.active, staged) as folder:
                for file in stored:
                    with files.file_in(folder, file.name) as source:
                        files.write_synced(target / file.name, files.chunks_of(source))
        except files.UnreadableError as error:
            raise Invalid(
                "INVALID_FIELD",
                "staged_path must be a folder below STORAGE_ACTIVE_PATH that holds the listed "
                "files, without links",
                field="staged_path",
            ) from error

    def _compare(self, folder: Path, stored: Collection[StoredFile]) -> None:
        for file in stored:
            found = files.hash_file(folder / file.name)
            if (found.size, found.sha256) != (file.size, file.sha256):
                raise DataLoss(
                    "ARTIFACT_CORRUPT",
                    f"the staged file {file.name} is not the one that was hashed; publish again",
                    metadata={"file": file.name},
                )


def _whole(folder: Path, stored: Collection[StoredFile]) -> bool:
    """Tell whether a folder can be kept; one that can't be read is replaced as a damaged one is."""
    try:
        return intact.damaged(folder, stored) is None
    except OSError:
        return False


def _changed(entry: Path) -> float:
    """Tell when an entry was put in its place or, if it still lacks one, last written to."""
    own = entry.lstat().st_mtime
    return files.measure(entry)[1] if entry.name.startswith(files.TEMPORARY) else own


def corrupt(name: str) -> DataLoss:
    """Build the error for a stored file that is not what was recorded."""
    return DataLoss(
        "ARTIFACT_CORRUPT",
        f"the stored file {name} is missing or changed; restore it or make it again",
        metadata={"file": name},
    )
