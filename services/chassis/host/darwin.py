"""macOS's memory pressure, which needs no rights and no library but the system's own."""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

_LIBRARY = "/usr/lib/libSystem.dylib"
_NAME = b"kern.memorystatus_vm_pressure_level"
_LEVELS = {1: 0, 2: 1, 4: 2}
"""Its numbers are bits: normal, warning, critical."""


def pressure_level(load: Callable[[str], Any] = ctypes.CDLL) -> int | None:
    """Give 0 for normal, 1 for warning, 2 for critical; None elsewhere than on macOS."""
    if sys.platform != "darwin" and load is ctypes.CDLL:
        return None
    value = ctypes.c_int()
    size = ctypes.c_size_t(ctypes.sizeof(value))
    refused = load(_LIBRARY).sysctlbyname(
        _NAME, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if refused else _LEVELS.get(value.value)
