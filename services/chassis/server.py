"""Serves one service: interceptors, health, reflection, metrics, and a clean way down."""

import asyncio
import ipaddress
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence

import grpc
from google.rpc import error_details_pb2 as _error_details  # noqa: F401  (its types travel in Any)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mlx_hub.system.v1 import system_service_pb2_grpc
from prometheus_client import disable_created_metrics, start_http_server

from services.chassis import logs, reflected, traces
from services.chassis.errors import HubError
from services.chassis.interceptors.access_log import AccessLog
from services.chassis.interceptors.errors import Errors, Translator
from services.chassis.interceptors.metrics import Metrics
from services.chassis.interceptors.slow_readers import SlowReaders
from services.chassis.interceptors.tracing import Tracing
from services.chassis.interceptors.validation import Validation
from services.chassis.settings import HubSettings, at
from services.chassis.system import SystemServicer, peers

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
# What the gateway takes, 32 KiB, and what it adds. By gRPC's own limits, calls with more than 8 KiB
# would fail at random, with a text that lists their headers.
MAX_METADATA_BYTES = 64 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.so_reuseport", 0),
)

# When a counter began tells nobody anything here, and would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

type Step = Callable[[], Awaitable[None]]


class HubServer:
    """One grpc.aio server with everything that is the same for every service."""

    def __init__(self, name: str, settings: HubSettings, *translators: Translator) -> None:
        """Build the server; add servicers to `.grpc` before `run`."""
        self.name = name
        self.settings = settings
        self.health = health.aio.HealthServicer()
        self.errors = Errors(translators)
        stored = Validation(stored=bool(translators))  # who knows a database's errors has one
        around = (AccessLog(), Tracing(), Metrics(), self.errors, stored)
        self.grpc = grpc.aio.server(
            interceptors=(SlowReaders(settings.reader_seconds), *around),
            options=OPTIONS,
        )
        self._system = SystemServicer(settings)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.grpc)
        reflected.enable(self.grpc)
        system_service_pb2_grpc.add_SystemServiceServicer_to_server(self._system, self.grpc)

    async def set_serving(self, serving: bool) -> None:
        """Publish the health of this service, by its name and as the whole server."""
        status = health_pb2.HealthCheckResponse
        value = status.SERVING if serving else status.NOT_SERVING
        peer = next(p for p in peers(self.settings) if p.name == self.name)
        for service in ("", peer.service):
            await self.health.set(service, value)

    async def start(self, port: int) -> int:
        """Listen on MLX_HUB_BIND_HOST and give the port; raises RuntimeError when it is taken."""
        bound = self.grpc.add_insecure_port(at(self.settings.bind_host, port))
        await self.grpc.start()
        return int(bound)

    async def stop(self) -> None:
        """Refuse new calls, let running ones end, close."""
        await self.health.enter_graceful_shutdown()
        await self.grpc.stop(self.settings.drain_seconds)
        await self._system.close()


async def serve(
    server: HubServer, *, on_start: Sequence[Step] = (), on_stop: Sequence[Step] = ()
) -> int:
    """Run a service until SIGTERM or SIGINT and give its exit code.

    `on_start` runs before health says SERVING; `on_stop` runs after it says
    NOT_SERVING and before the last calls are drained.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    port = getattr(server.settings, f"{server.name}_port")
    metrics_port = getattr(server.settings, f"{server.name}_metrics_port")
    try:
        start_http_server(metrics_port, addr=server.settings.bind_host)
        await server.set_serving(False)
        await server.start(port)
        for step in on_start:
            await step()
    except (HubError, OSError, RuntimeError) as error:
        log.error("%s can't start: %s", server.name, error)
        await server.stop()
        return 1
    await server.set_serving(True)
    where = at(server.settings.bind_host, port)
    log.info("%s serves on %s", server.name, where)
    if not ipaddress.ip_address(server.settings.bind_host).is_loopback:
        log.warning("whoever reaches %s may call it without a key; keep its network private", where)
    await stopping.wait()
    log.info("%s stops", server.name)
    await server.set_serving(False)
    for step in on_stop:
        await step()
    await server.stop()
    traces.flush()
    return 0


def prepare(name: str, settings: HubSettings) -> None:
    """Set up logging and tracing for a service's process."""
    logs.configure(name, settings.log_level, settings.log_format)
    traces.configure(name, settings)
