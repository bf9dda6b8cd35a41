"""Bytes on disk: opened without following links, written so that a crash leaves all or nothing."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services.chassis.durable import sync
from services.chassis.errors import Exhausted
from services.registry.domain import StoredFile
from services.runtime.folder import FileDigest, digest_of

TEMPORARY = ".tmp-"
_CHUNK = 1 << 20
# O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class UnreadableError(ValueError):
    """A path names no regular file or folder below its root, or leads through a link."""


def parts_beneath(relative: str) -> list[str]:
    """Split a relative path; refuse one that could leave its root or has two spellings."""
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise UnreadableError("not a plain relative path")
    return parts


@contextmanager
def folder_beneath(root: Path, relative: str) -> Iterator[int]:
    """Open a folder below the root, component by component, never through a link."""
    with _descended(root, parts_beneath(relative)) as folder:
        yield folder


@contextmanager
def file_beneath(root: Path, relative: str) -> Iterator[int]:
    """Open a regular file below the root for reading, never through a link."""
    *folders, name = parts_beneath(relative)
    with _descended(root, folders) as folder, file_in(folder, name) as file:
        yield file


@contextmanager
def file_in(folder: int, name: str) -> Iterator[int]:
    """Open a regular file of an opened folder, never through a link."""
    file = _open(name, _READ, folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise UnreadableError("not a regular file")
        yield file
    finally:
        os.close(file)


@contextmanager
def _descended(root: Path, parts: list[str]) -> Iterator[int]:
    # The root itself is the operator's word and may be a link.
    folder = _open(str(root), _ENTER & ~os.O_NOFOLLOW, None)
    try:
        for part in parts:
            inner = _open(part, _ENTER, folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _open(name: str, flags: int, folder: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise UnreadableError(f"can't be opened: {error.strerror}") from error


def write_synced(target: Path, chunks: Iterator[bytes]) -> None:
    """Write a new read-only file and wait until it is on the medium."""
    with target.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        seal(file)


def seal(file: BinaryIO) -> None:
    """Make a written file read-only and wait until it is on the medium."""
    file.flush()
    os.fchmod(file.fileno(), 0o444)
    sync(file.fileno())


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Read an open file to its end."""
    while chunk := os.read(descriptor, _CHUNK):
        yield chunk


def hash_file(path: Path) -> StoredFile:
    """Read a file's size, time and SHA-256."""
    with path.open("rb") as file:
        seen = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return StoredFile(path.name, seen.st_size, digest, seen.st_mtime_ns)


def checksum_of(stored: Iterable[StoredFile]) -> str:
    """Give one SHA-256 over files, independent of their order."""
    return digest_of(tuple(FileDigest(f.name, f.size, f.sha256) for f in stored))


def measure(path: Path | os.DirEntry[str]) -> tuple[int, float]:
    """Give the bytes of a file or of all in a folder, and when any of it last changed."""
    try:
        seen = os.lstat(path)
        if not stat.S_ISDIR(seen.st_mode):
            return seen.st_size, seen.st_mtime
        with os.scandir(path) as entries:
            inner = [measure(entry) for entry in entries]
    except FileNotFoundError:  # gone in this moment
        return 0, 0.0
    return sum(size for size, _ in inner), max([seen.st_mtime, *(at for _, at in inner)])


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it; one that is gone already is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn a full data volume into the error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise Exhausted(
            "DISK_FULL",
            "the data volume is full; free space and try again",
            metadata={"free_bytes": str(free)},
        ) from error
