"""How hot the machine is: one reading, whichever sensor there is.

macOS tells a pressure instead of a temperature, and needs no rights for it; Linux tells the
processor's temperature where a driver does; anywhere, a file may hold a temperature.
"""

import ctypes
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger(__name__)


class Pressure(StrEnum):
    """macOS's levels, in their order: its numbers count from 0."""

    NOMINAL = "nominal"
    MODERATE = "moderate"
    HEAVY = "heavy"
    TRAPPING = "trapping"
    SLEEPING = "sleeping"


LEVELS = tuple(Pressure)


@dataclass(frozen=True)
class Reading:
    """What a sensor says; None is what it has no word for."""

    celsius: float | None = None
    pressure: Pressure | None = None


type Sensor = Callable[[], Reading | None]
"""Gives None when nothing can be read; it may work again the next time."""


@dataclass(frozen=True)
class Limit:
    """From where on it is too hot; a reading is held against the one that it has a word for."""

    celsius: float
    pressure: Pressure

    def exceeded(self, reading: Reading | None) -> bool:
        """Tell whether it is too hot; without a reading it is not."""
        if reading is None:
            return False
        hot = reading.celsius is not None and reading.celsius >= self.celsius
        level = reading.pressure
        return hot or (level is not None and LEVELS.index(level) >= LEVELS.index(self.pressure))


def open_sensor(file: Path | None = None) -> Sensor:
    """Give the file's sensor, or the machine's own; one that reads nothing where there is none."""
    if file is not None:
        return _file_sensor(file)
    if sys.platform == "darwin":
        return darwin_sensor()
    temperatures = getattr(psutil, "sensors_temperatures", None)
    return linux_sensor(temperatures) if temperatures else _no_sensor


def _no_sensor() -> None:
    return None


def _file_sensor(path: Path) -> Sensor:
    def read() -> Reading | None:
        try:
            celsius = float(path.read_text())
        except (OSError, ValueError) as error:
            log.warning("the sensor file can't be read: %s", type(error).__name__)
            return None
        return Reading(celsius=celsius) if math.isfinite(celsius) else None

    return read


# Other chips, such as disks and radios, are hot in ways of their own.
_PROCESSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")


def linux_sensor(temperatures: Callable[[], Mapping[str, Sequence[Any]]]) -> Sensor:
    """Give the hottest of the processor's temperatures, as psutil reads them."""

    def read() -> Reading | None:
        chips = temperatures()
        found = [part.current for chip in _PROCESSORS for part in chips.get(chip, ())]
        known = [float(celsius) for celsius in found if celsius is not None]
        return Reading(celsius=max(known)) if known else None

    return read


_LIBRARY = "/usr/lib/libSystem.dylib"
_NOTICE = b"com.apple.system.thermalpressurelevel"


def darwin_sensor(load: Callable[[str], Any] = ctypes.CDLL) -> Sensor:
    """Give the system's thermal pressure; it needs one registration for the process's life."""
    token = ctypes.c_int()
    try:
        library = load(_LIBRARY)
        refused = library.notify_register_check(_NOTICE, ctypes.byref(token))
    except (OSError, AttributeError):
        return _no_sensor
    if refused:
        return _no_sensor

    def read() -> Reading | None:
        state = ctypes.c_uint64()
        if library.notify_get_state(token, ctypes.byref(state)) or state.value >= len(LEVELS):
            return None
        return Reading(pressure=LEVELS[state.value])

    return read
