"""Folders that appear whole or not at all, also after a power cut."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.chassis.durable import sync_path

_PART = ".part"


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
