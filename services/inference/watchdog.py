"""When an engine that has work and makes no progress counts as stalled."""

import time
from collections.abc import Callable

# How often to look; what the service itself slept through does not count against the engine.
LOOK_SECONDS = 1.0


class Watchdog:
    """Counts the seconds since an engine with requests last made progress."""

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take after how many seconds it is ended."""
        self.limit = limit
        self.pause = min(LOOK_SECONDS, limit / 4)
        self._clock = clock
        self._quiet = 0.0
        self._looked = clock()

    @property
    def stalled(self) -> bool:
        """Tell whether half the limit has passed."""
        return self._quiet >= self.limit / 2

    def progressed(self) -> None:
        """Note a sign of work."""
        self._quiet = 0.0
        self._looked = self._clock()

    def look(self, *, working: bool) -> bool:
        """Take note of the time; tell whether the limit has passed."""
        now = self._clock()
        # A machine that slept, or a service that was stopped, would else blame the engine.
        passed = min(now - self._looked, 2 * self.pause)
        self._looked = now
        self._quiet = self._quiet + passed if working else 0.0
        return self._quiet >= self.limit
