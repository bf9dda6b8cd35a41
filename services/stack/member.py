"""One supervised part of the stack: started again, ever more slowly, when it dies."""

import logging
import time
from typing import Protocol

from services.stack.errors import StackError

log = logging.getLogger(__name__)

STABLE_SECONDS = 60.0
LONGEST_PAUSE = 30.0


class Runnable(Protocol):
    """What can be started, watched and stopped."""

    name: str

    def start(self) -> None:
        """Start it (again)."""

    def exit_code(self) -> int | None:
        """Give the exit code, or None while it runs."""

    def ask_to_stop(self) -> None:
        """Ask it to end, without waiting."""

    def stop(self, grace: float) -> None:
        """End it, by force after `grace` seconds, with whatever it left behind."""


class Member:
    """Keeps one part running; `tend` is called often and never waits for a pause."""

    def __init__(self, runnable: Runnable) -> None:
        self.runnable = runnable
        self._started = time.monotonic()
        self._failures = 0
        self._next_start: float | None = None

    def tend(self) -> bool:
        """Restart the part if it died and its pause is over; tell whether it was started."""
        now = time.monotonic()
        if self._next_start is None:
            code = self.runnable.exit_code()
            if code is None:
                return False
            self._plan_restart(now, f"ended with code {code}")
        if self._next_start is None or now < self._next_start:
            return False
        return self._restart()

    def _plan_restart(self, now: float, why: str) -> None:
        if now - self._started > STABLE_SECONDS:
            self._failures = 0
        pause = min(LONGEST_PAUSE, 0.5 * 2**self._failures)
        self._failures += 1
        self._next_start = now + pause
        log.error("%s %s; it starts again in %.1f s", self.runnable.name, why, pause)
        self.runnable.stop(0)

    def _restart(self) -> bool:
        self._started = time.monotonic()
        self._next_start = None
        try:
            self.runnable.start()
        except (StackError, OSError) as error:
            self._plan_restart(self._started, f"did not start: {error}")
            return False
        log.warning("%s was started again", self.runnable.name)
        return True
