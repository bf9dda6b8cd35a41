"""Bytes that are on the medium when a function returns: a power cut leaves all or nothing."""

import fcntl
import os
from pathlib import Path


def sync(descriptor: int) -> None:
    """Flush an open file or folder to the medium; macOS's fsync stops at the drive's cache."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_path(path: Path) -> None:
    """Flush a file, or a folder's entries, so that a rename in it survives a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
