"""Whether files are what was recorded, by reading every byte; no time of a file is believed.

A file that is there and can't be read raises OSError: that may pass, and is no proof of a loss.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from services.registry import files
from services.registry.domain import StoredFile
from services.registry.files import checksum_of
from services.registry.papers import MANIFEST

type Read = Callable[[Path], StoredFile]


def damaged(
    folder: Path, stored: Collection[StoredFile], read: Read = files.hash_file
) -> str | None:
    """Name the first file that is missing or changed."""
    for file in stored:
        if not _same(_found(folder / file.name, read), file):
            return file.name
    return None


def damaged_version(
    folder: Path, digest: str, stored: Collection[StoredFile], read: Read = files.hash_file
) -> str | None:
    """Do so for a version's folder, whose digest covers the manifest that an old row can't name."""
    lost = damaged(folder, stored, read)
    if lost or any(file.name == MANIFEST for file in stored):
        return lost
    manifest = _found(folder / MANIFEST, read)
    whole = manifest is not None and checksum_of((*stored, manifest)) == digest
    return None if whole else MANIFEST


def unreadable(error: OSError) -> str:
    """Name the file that could not be read."""
    return Path(str(error.filename or "a file")).name


def _found(path: Path, read: Read) -> StoredFile | None:
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:  # an error while reading names no file by itself
        raise OSError(error.errno, error.strerror, str(path)) from error


def _same(found: StoredFile | None, file: StoredFile) -> bool:
    return found is not None and (found.size, found.sha256) == (file.size, file.sha256)
