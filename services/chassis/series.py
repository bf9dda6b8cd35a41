"""Which label values have series: those used lately, and a bounded number of them.

Models, versions and base models come and go. A series that nobody counts in any more goes too; if
its values are used again it begins at 0, which Prometheus takes for a restart.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from prometheus_client.metrics import MetricWrapperBase

KEPT_SECONDS = 3600.0
MOST = 64


class Recent:
    """The values of the first labels that some metrics share; from any thread."""

    def __init__(
        self,
        metrics: Sequence[MetricWrapperBase],
        labels: Sequence[str] = ("base_model",),
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the metrics, and how many values of these labels may have series."""
        self._metrics = tuple(metrics)
        self._labels = tuple(labels)
        self._most = most
        self._clock = clock
        self._used: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._lock = threading.Lock()

    def use(self, *values: str) -> None:
        """Take note, before they are counted in, that these values have series."""
        with self._lock:
            self._used[values] = self._clock()
            self._used.move_to_end(values)
            while len(self._used) > self._most:
                self._remove(next(iter(self._used)))

    def sweep(self) -> None:
        """Remove the series of values that were not used for long."""
        with self._lock:
            before = self._clock() - KEPT_SECONDS
            while self._used and (oldest := next(iter(self._used.items())))[1] < before:
                self._remove(oldest[0])

    def _remove(self, values: tuple[str, ...]) -> None:
        del self._used[values]
        for metric in self._metrics:
            metric.remove_by_labels(dict(zip(self._labels, values, strict=True)))
