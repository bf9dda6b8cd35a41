"""An Apple chip's GPU and watts, by macmon-lib, which is not always there: `mlx-hub[apple]`."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.chassis.host.sample import Gpu


@dataclass(frozen=True)
class Chip:
    """What the chip's sensors say."""

    gpu: Gpu
    watts: float | None


def open_chip(library: Callable[[str], Any] = importlib.import_module) -> Callable[[], Chip] | None:
    """Open the chip's sensors; None without the library, or where it finds no such chip."""
    try:
        sampler = library("macmon").Sampler()
    except (ImportError, RuntimeError):
        return None

    def read() -> Chip:
        found = sampler.metrics()
        busy = max((gpu.usage for gpu in found.gpu_usage), default=None)
        gpu = Gpu(busy_ratio=busy, celsius=found.temperature.gpu_average or None)
        return Chip(gpu, found.power.board or found.power.package or None)

    return read
