"""One reading from whichever sensor there is, and from one that fails."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.chassis.thermal import (
    LEVELS,
    Limit,
    Pressure,
    Reading,
    darwin_sensor,
    linux_sensor,
    open_sensor,
)

LIMIT = Limit(celsius=90, pressure=Pressure.HEAVY)


@pytest.mark.parametrize(
    ("reading", "hot"),
    [
        (None, False),
        (Reading(), False),
        (Reading(celsius=89.9), False),
        (Reading(celsius=90), True),
        (Reading(pressure=Pressure.MODERATE), False),
        (Reading(pressure=Pressure.HEAVY), True),
        (Reading(pressure=Pressure.SLEEPING), True),
        (Reading(celsius=40, pressure=Pressure.TRAPPING), True),
    ],
)
def test_too_hot_is_at_the_limit_or_above(reading: Reading | None, hot: bool) -> None:
    assert LIMIT.exceeded(reading) is hot


def test_a_file_holds_degrees(tmp_path: Path) -> None:
    path = tmp_path / "celsius"
    sensor = open_sensor(path)
    assert sensor() is None
    for text, reading in (("71.5\n", Reading(celsius=71.5)), ("hot", None), ("nan", None)):
        path.write_text(text)
        assert sensor() == reading
    path.write_bytes(b"\xff")
    assert sensor() is None


def test_linux_tells_the_hottest_part_of_the_processor() -> None:
    def part(celsius: float | None) -> SimpleNamespace:
        return SimpleNamespace(current=celsius)

    chips: dict[str, Any] = {"nvme": [part(99.0)], "coretemp": [part(50.0), part(61.0), part(None)]}
    assert linux_sensor(lambda: chips)() == Reading(celsius=61.0)
    del chips["coretemp"]
    assert linux_sensor(lambda: chips)() is None
    assert linux_sensor(dict)() is None


class Library:
    """Stands in for libSystem, of which only these two functions are called."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.fails = 0
        self.level = 0

    def notify_register_check(self, name: bytes, token: Any) -> int:
        assert name == b"com.apple.system.thermalpressurelevel"
        ctypes.cast(token, ctypes.POINTER(ctypes.c_int))[0] = 5
        return self.refuses

    def notify_get_state(self, token: Any, state: Any) -> int:
        assert token.value == 5
        ctypes.cast(state, ctypes.POINTER(ctypes.c_uint64))[0] = self.level
        return self.fails


def test_macos_tells_a_pressure() -> None:
    library = Library()
    sensor = darwin_sensor(lambda path: library)
    for library.level, level in enumerate(LEVELS):
        assert sensor() == Reading(pressure=level)
    library.level = len(LEVELS)
    assert sensor() is None
    library.level, library.fails = 0, 1
    assert sensor() is None


def test_a_system_without_the_notice_reads_nothing() -> None:
    assert darwin_sensor(lambda path: Library(refuses=1))() is None

    def missing(path: str) -> Any:
        raise OSError(path)

    assert darwin_sensor(missing)() is None
