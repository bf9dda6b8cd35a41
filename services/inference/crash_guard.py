"""When an engine that keeps ending may start again."""

from collections import deque


class CrashGuard:
    """Spaces the restarts of an engine that keeps ending: 0, 1, 2, 4 … seconds, then half minutes.

    A quiet window forgets it all.
    """

    WINDOW_S = 60.0
    LONGEST_WAIT_S = 30.0
    LOOPING = 3

    def __init__(self) -> None:
        """Start without crashes."""
        self._crashes: deque[float] = deque(maxlen=16)

    def crashed(self, now: float) -> None:
        """Note that the engine ended, or did not start."""
        self._crashes.append(now)

    def wait(self, now: float) -> float:
        """Give the seconds until it may start again."""
        recent = self._recent(now)
        if len(recent) < 2:
            return 0.0
        pause = min(2.0 ** (len(recent) - 2), self.LONGEST_WAIT_S)
        return max(0.0, recent[-1] + pause - now)

    def looping(self, now: float) -> bool:
        """Tell whether it crashed so often lately that the service counts as broken."""
        return len(self._recent(now)) >= self.LOOPING

    def _recent(self, now: float) -> list[float]:
        return [at for at in self._crashes if now - at < self.WINDOW_S]
