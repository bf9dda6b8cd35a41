"""SystemService: how the whole hub is, answered by whichever service is asked."""

import asyncio
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass
from itertools import chain
from typing import Any

import grpc
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mlx_hub.system.v1 import system_service_pb2 as pb
from mlx_hub.system.v1 import system_service_pb2_grpc as pb_grpc

from services.chassis import envoy
from services.chassis.requests import Context
from services.chassis.settings import LOOPBACK, HubSettings, at

log = logging.getLogger(__name__)

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Peer:
    """One service of the node: where its rpcs and its metrics are."""

    name: str
    host: str
    port: int
    metrics_port: int
    service: str

    @property
    def address(self) -> str:
        """Give where its rpcs are, as `host:port`."""
        return at(self.host, self.port)

    @property
    def metrics_address(self) -> str:
        """Give where its metrics are, as `host:port`."""
        return at(self.host, self.metrics_port)


def peers(settings: HubSettings) -> tuple[Peer, ...]:
    """List the node's services by its settings."""
    return tuple(
        Peer(
            name,
            getattr(settings, f"{name}_host"),
            getattr(settings, f"{name}_port"),
            getattr(settings, f"{name}_metrics_port"),
            f"mlx_hub.{name}.v1.{name.capitalize()}Service",
        )
        for name in ("registry", "trainer", "inference")
    )


class SystemServicer(pb_grpc.SystemServiceServicer):
    """Asks every peer each time: what it says is true now."""

    def __init__(self, settings: HubSettings) -> None:
        """Know the peers; channels connect when first used."""
        self._peers = peers(settings)
        self._gateway = at(LOOPBACK, settings.gateway_metrics_port)
        self._channels = {p.name: grpc.aio.insecure_channel(p.address) for p in self._peers}

    async def GetHealth(self, request: pb.GetHealthRequest, context: Context) -> pb.Health:
        """Check each service's own health."""
        services = await asyncio.gather(*(self._check(peer) for peer in self._peers))
        good = all(s.status == pb.SERVING_STATUS_SERVING for s in services)
        if not good:
            await context.send_initial_metadata((("x-http-code", "503"),))
        status = pb.SERVING_STATUS_SERVING if good else pb.SERVING_STATUS_NOT_SERVING
        return pb.Health(status=status, services=services)

    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Merge each service's metrics, and the gateway's, under a `service` label."""
        pages = {p.name: (p.metrics_address, "/metrics") for p in self._peers}
        pages["gateway"] = (self._gateway, envoy.PATH)
        texts = await asyncio.gather(*(asyncio.to_thread(_read, *page) for page in pages.values()))
        told = dict(zip(pages, texts, strict=True))
        body = merge({**told, "gateway": envoy.translated(told["gateway"])})
        return httpbody_pb2.HttpBody(content_type=PROMETHEUS_TEXT, data=body)

    async def close(self) -> None:
        """Close the channels to the peers."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    async def _check(self, peer: Peer) -> pb.ServiceHealth:
        stub: Any = health_pb2_grpc.HealthStub(self._channels[peer.name])
        status = pb.SERVING_STATUS_NOT_SERVING
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=peer.service), timeout=2)
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                status = pb.SERVING_STATUS_SERVING
        except grpc.aio.AioRpcError as error:
            log.info("%s does not answer its health check: %s", peer.name, error.code().name)
        return pb.ServiceHealth(name=peer.name, status=status)


def _read(address: str, path: str) -> str:
    try:
        url = f"http://{address}{path}"
        with urllib.request.urlopen(url, timeout=2) as reply:
            return str(reply.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def merge(texts: dict[str, str]) -> bytes:
    """Merge Prometheus texts: one family once, its samples told apart by `service`.

    It works on lines, in a twentieth of the time that reading the numbers would take.
    """
    up = [
        "# HELP mlx_hub_service_up Whether the service's metrics could be read.",
        "# TYPE mlx_hub_service_up gauge",
    ]
    up += [f'mlx_hub_service_up{{service="{n}"}} {float(bool(t))}' for n, t in texts.items()]
    families: dict[str, list[str]] = {}
    for service, text in texts.items():
        family: list[str] = []
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                known = name in families
                family = families.setdefault(name, [line])
            elif line.startswith("# TYPE "):
                if not known:
                    family.append(line)
            elif line:
                family.append(_labelled(line, service))
    return ("\n".join((*up, *chain.from_iterable(families.values()))) + "\n").encode()


def _labelled(sample: str, service: str) -> str:
    """Put a label before the others of a sample; a name without labels ends at the first blank."""
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{service="{service}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{service="{service}"}} {value}'
