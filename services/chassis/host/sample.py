"""What the machine's sensors say: one interface, whichever machine it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.chassis.thermal import Reading


@dataclass(frozen=True)
class Space:
    """Room of a kind, in bytes."""

    size: int
    free: int


@dataclass(frozen=True)
class Gpu:
    """A graphics processor; ratios are of 1, None is what no sensor has a word for."""

    busy_ratio: float | None = None
    celsius: float | None = None


@dataclass(frozen=True)
class HostSample:
    """One look at the machine; None, or nothing in a mapping, is what no sensor has a word for."""

    at: float
    """When it was taken, as `time.time()`."""
    cpu_ratio: float | None = None
    """Busy share of all processors since the sample before, 0 to 1."""
    memory: Space | None = None
    """`free` is what could be allocated without swapping; a container's where that is less."""
    swap: Space | None = None
    pressure_level: int | None = None
    """macOS's memory pressure: 0 normal, 1 warning, 2 critical."""
    stalled: Mapping[str, float] = field(default_factory=dict)
    """Linux's pressure by resource (cpu, io, memory): the share of the last ten seconds, 0 to 1,
    in which something waited for it."""
    heat: Reading | None = None
    """The processor's temperature, or macOS's thermal pressure."""
    gpu: Gpu | None = None
    watts: float | None = None
    """What the machine draws."""
    volumes: Mapping[str, Space] = field(default_factory=dict)
    """By what of the hub lies there."""


class HostSensors(Protocol):
    """Looks at the machine."""

    def sample(self) -> HostSample:
        """Take a sample, in milliseconds; never raises: a sensor that fails says None."""
        ...
