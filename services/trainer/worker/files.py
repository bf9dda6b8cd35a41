"""Folders that appear whole or not at all, also after a power cut."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.chassis.durable import sync_path

_PART = ".part"


@dataclass(frozen=True)
class FileDigest:
    """One file as it was written."""

    name: str
    size: int
    sha256: str


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target` to fill; it takes the name when all is on disk.

    The folder around it is never made here: when it is gone, so is the right to write into it.
    """
    staging = target.with_name(f".{target.name}{_PART}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        for path in (*sorted(staging.iterdir()), staging):
            sync_path(path)
        # What lies there is this job's own older work at the same place.
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
        sync_path(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what a run that was killed left half done."""
    for path in folder.glob(f".*{_PART}"):
        shutil.rmtree(path, ignore_errors=True)


def digest(path: Path) -> FileDigest:
    """Hash a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(path.name, path.stat().st_size, sha256)
