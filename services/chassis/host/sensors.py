"""This machine's sensors: psutil everywhere, and what each system tells beyond it."""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from services.chassis import memory
from services.chassis.host import apple, darwin
from services.chassis.host.sample import HostSample, Space
from services.chassis.settings import HubSettings
from services.chassis.thermal import open_sensor

log = logging.getLogger(__name__)

PRESSURE = Path("/proc/pressure")
RESOURCES = ("cpu", "io", "memory")


class LocalSensors:
    """The sensors of this machine; create and use it on one thread."""

    def __init__(self, volumes: Mapping[str, Path], pressure: Path = PRESSURE) -> None:
        """Take the folders whose volumes are measured, and where Linux tells its pressure."""
        self._volumes = volumes
        self._pressure = pressure
        self._heat = open_sensor()
        self._chip = apple.open_chip() if sys.platform == "darwin" else None
        self._failed: set[str] = set()
        self._try("cpu", psutil.cpu_percent)  # the first answer has nothing to compare with

    def sample(self) -> HostSample:
        """Take a sample, in milliseconds; a sensor that fails says None."""
        chip = self._try("chip", self._chip) if self._chip else None
        cpu = self._try("cpu", psutil.cpu_percent)
        return HostSample(
            at=time.time(),
            cpu_ratio=None if cpu is None else cpu / 100,
            memory=self._try("memory", _memory),
            swap=self._try("swap", _swap),
            pressure_level=self._try("memory pressure", darwin.pressure_level),
            stalled=self._try("pressure", self._stalled) or {},
            heat=self._try("heat", self._heat),
            gpu=chip.gpu if chip else None,
            watts=chip.watts if chip else None,
            volumes=self._try("volumes", self._spaces) or {},
        )

    def _try[T](self, name: str, read: Callable[[], T]) -> T | None:
        """Read a sensor; that it fails is told once, until it has worked again."""
        try:
            found = read()
        except Exception as error:  # foreign libraries raise what they like
            if name not in self._failed:
                log.warning("the %s sensor can't be read: %s", name, type(error).__name__)
            self._failed.add(name)
            return None
        self._failed.discard(name)
        return found

    def _stalled(self) -> dict[str, float]:
        files = {name: self._pressure / name for name in RESOURCES}
        return {name: _average(file.read_text()) for name, file in files.items() if file.exists()}

    def _spaces(self) -> dict[str, Space]:
        used = {n: shutil.disk_usage(path) for n, path in self._volumes.items() if path.is_dir()}
        return {name: Space(size=room.total, free=room.free) for name, room in used.items()}


def volumes(settings: HubSettings) -> dict[str, Path]:
    """Give the folders of the hub whose volumes may fill up, each by its role."""
    return {
        "home": settings.home,
        "active": settings.storage_active_path,
        "archive": settings.storage_archive_path,
        "cold": settings.storage_cold_path,
    }


def _memory() -> Space:
    return Space(size=memory.total_bytes(), free=memory.available_bytes())


def _swap() -> Space:
    swap = psutil.swap_memory()
    return Space(size=swap.total, free=swap.free)


def _average(text: str) -> float:
    """Read `some avg10=1.23 …`: of the last ten seconds, in percent."""
    [some] = [line for line in text.splitlines() if line.startswith("some ")]
    words = dict(word.split("=") for word in some.split()[1:])
    return float(words["avg10"]) / 100
