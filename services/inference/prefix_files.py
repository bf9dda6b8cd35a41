"""The files of the prefix cache: a folder for each base model, `<digest>/<key>.safetensors`."""

import logging
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class CachedFile:
    """A file, its bytes, and when it was last used, in nanoseconds."""

    path: Path
    size: int
    used: int


def files_in(root: Path, base_digest: str = "*") -> list[CachedFile]:
    """List the files of one base model or all; those that go meanwhile are left out."""
    found = list[CachedFile]()
    for path in root.glob(f"{base_digest}/*{SUFFIX}"):
        try:
            stat = path.stat()
        except OSError:
            continue
        if not path.name.startswith("."):
            found.append(CachedFile(path, stat.st_size, stat.st_mtime_ns))
    return found


def remove(file: CachedFile) -> bool:
    """Remove a file; tell whether it is gone."""
    try:
        file.path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a file of the prefix cache can't be removed: %s", error)
        return False
    return True


def remove_files(root: Path, base_digest: str = "*") -> tuple[int, int]:
    """Remove the files of one base model or all; give their bytes, and how many stay."""
    files = files_in(root, base_digest)
    gone = [file.size for file in files if remove(file)]
    return sum(gone), len(files) - len(gone)
