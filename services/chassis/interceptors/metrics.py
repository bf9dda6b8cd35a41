"""Rate, errors and duration of every rpc, under the names go-grpc-prometheus made usual."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from prometheus_client import Counter, Gauge, Histogram

from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.interceptors.calls import ending, split
from services.chassis.requests import Context

HANDLED = Counter(
    "grpc_server_handled",
    "Calls ended, by status.",
    ["grpc_service", "grpc_method", "grpc_code"],
)
SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "From a call's start to its last reply.",
    ["grpc_service", "grpc_method"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
RUNNING = Gauge("mlx_hub_rpc_in_flight", "Calls that run now.", ["grpc_service", "grpc_method"])


class Metrics(AroundInterceptor):
    """Counts calls; labels come from the contract, never from a caller."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Observe one call."""
        labels = split(method)
        start = time.perf_counter()

        def count(code: grpc.StatusCode) -> None:
            RUNNING.labels(*labels).dec()
            HANDLED.labels(*labels, code.name).inc()
            SECONDS.labels(*labels).observe(time.perf_counter() - start)

        RUNNING.labels(*labels).inc()
        with ending(context, count):
            yield
