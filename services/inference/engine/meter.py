"""What an engine counts of its steps: a few additions a step, told about once a second."""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence

from mlx_hub.internal.v1 import engine_pb2

from services.inference.buckets import INTER_TOKEN_SECONDS, ROWS


class Spread:
    """How often values lay within each bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take the upper bounds, in order; what is above the last is counted too."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value so many times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def told(self) -> engine_pb2.Distribution:
        """Give what was counted so far."""
        return engine_pb2.Distribution(counts=self._counts, sum=self._sum)


class Meter:
    """Counts of all steps since the engine started; on the thread that owns MLX."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at nothing."""
        self.rows = Spread(ROWS)
        self.inter_token = Spread(INTER_TOKEN_SECONDS)
        self._clock = clock
        self._before = 0.0

    def stepped(self, rows: int, tokens: int, first: int) -> None:
        """Count a step: its rows, the tokens that it gave, and how many of those were first ones.

        A row that gave several, by drafting, waited its share of the step for each.
        """
        now = self._clock()
        if rows:
            self.rows.add(rows)
        if (later := tokens - first) > 0:
            self.inter_token.add((now - self._before) * min(1.0, rows / tokens), later)
        if tokens:
            self._before = now
