"""The memory of this node: how much there is, and how much of it the hub may use."""

import sys
from pathlib import Path

import psutil

GIB = 1024**3
CGROUP = Path("/sys/fs/cgroup")


def default_budget(total: int) -> int:
    """Leave max(12 GiB, a quarter) to everything else, but never more than a half."""
    return max(total - max(12 * GIB, total // 4), total // 2)


def total_bytes() -> int:
    """Give the memory of the machine, or of the container where that is less."""
    return min(int(psutil.virtual_memory().total), _cgroup("memory.max") or sys.maxsize)


def available_bytes() -> int:
    """Give what could be allocated now."""
    available = int(psutil.virtual_memory().available)
    limit = _cgroup("memory.max")
    if limit is not None:
        available = min(available, max(0, limit - (_cgroup("memory.current") or 0)))
    return available


def runs_dense() -> bool:
    """Tell whether models compute on a CPU here, as far as it can be told without MLX."""
    return sys.platform != "darwin"


def _cgroup(name: str) -> int | None:
    try:
        text = (CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
