"""The files of the prefix cache: a folder for each base model, `<digest>/<key>.safetensors`."""

from dataclasses import dataclass
from pathlib import Path

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


def remove_files(root: Path, base_digest: str = "*") -> int:
    """Remove the files of one base model or all; give their bytes."""
    files = files_in(root, base_digest)
    for file in files:
        file.path.unlink(missing_ok=True)
    return sum(file.size for file in files)
