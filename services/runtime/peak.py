"""The most memory that this process has held."""

import resource
import sys

import mlx.core as mx


def peak_memory() -> float:
    """Give the most bytes this process has held, by the system's count and by MLX's."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return float(max(resident, mx.get_peak_memory()))
