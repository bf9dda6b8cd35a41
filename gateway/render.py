"""Renders Envoy's configuration and the files that it refers to."""

import ipaddress
import re
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway import contract, guard, pages, ui
from gateway.collector import collector_of
from gateway.files import write_private
from gateway.refusals import RATE_LIMITED, Refusal, openai_error
from gateway.settings import GatewaySettings
from services.chassis import envoy

BODY_LIMIT = 4 * 1024 * 1024
READ_SECONDS = 15
WRITE_SECONDS = 60
# What may take longer than a write: a whole answer, hashing a large file, and moving one.
LONG_SECONDS = {
    "mlx_hub.inference.v1.InferenceService.Generate": 900,
    "mlx_hub.registry.v1.DatasetService.CreateDataset": 300,
    "mlx_hub.registry.v1.ProvenanceService.VerifyVersion": 900,
    "mlx_hub.inference.v1.InferenceService.LoadModel": 900,
    "mlx_hub.registry.v1.DatasetService.GetDatasetReport": 300,
    "mlx_hub.registry.v1.RegistryService.ArchiveVersion": 300,
    "mlx_hub.registry.v1.RegistryService.RestoreVersion": 300,
    "mlx_hub.registry.v1.StorageService.ReconcileStorage": 300,
}
# A body that comes in piece by piece may take hours, as long as it comes.
UPLOAD_IDLE_SECONDS = 300
SERVICES = ("registry", "trainer", "inference")
# Packages that are served by another service than the one they are named after.
_SERVED_BY = {"openai": "inference"}
_INTERNAL_HEADERS = (
    "x-mlx-hub-refusal",
    "x-mlx-hub-given-id",
    "x-mlx-hub-trace-id",
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
)
# What a browser may do with an answer: nothing but hand it to the page that asked for it.
# A page that the hub itself serves brings its own policy, and a stream its own caching.
SECURE_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
_LIMIT_TEXT = f"the body is larger than {BODY_LIMIT} bytes"
_FORBIDDEN = (
    "the Host or Origin header is not on the gateway's allow-list; "
    "the operator can add to it by MLX_HUB_ALLOWED_HOSTS and MLX_HUB_ALLOWED_ORIGINS"
)
_AWAY = "the service does not answer or has no room; try again"
_SLOW = "the call took longer than the gateway waits"
_PORTED = re.compile(r":\d+$")
_ENVOYS = "%LOCAL_REPLY_BODY%"


@dataclass(frozen=True)
class Route:
    """One entry of Envoy's route table, matched on the gRPC path.

    An upload is matched on its REST path too, for the filters that stand before the transcoder.
    """

    match: dict[str, str]
    cluster: str
    timeout: int = WRITE_SECONDS
    retries: bool = False
    streams: bool = False
    uploads: bool = False
    rpc: str = ""


@dataclass(frozen=True)
class LocalReply:
    """How one of Envoy's own answers is worded."""

    http: int
    code: int
    message: str
    reason: str = ""
    op: str = "EQ"

    @property
    def details(self) -> list[dict[str, Any]]:
        """Give the ErrorInfo where the contract has a reason for it."""
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        info = {"@type": kind, "reason": self.reason, "domain": "mlx-hub", "metadata": {}}
        return [info] if self.reason else []

    @property
    def body(self) -> dict[str, Any]:
        """Give the body over REST."""
        return {"code": self.code, "message": self.message, "details": self.details}

    @property
    def openai(self) -> dict[str, Any]:
        """Give the body below /v1."""
        return openai_error(self.http, self.message)


LOCAL_REPLIES: tuple[LocalReply | Refusal, ...] = (
    LocalReply(400, 3, _ENVOYS),
    LocalReply(403, 7, _FORBIDDEN),
    LocalReply(404, 5, "no such endpoint"),
    LocalReply(408, 4, "nothing came for too long; send it again"),
    LocalReply(413, 3, _LIMIT_TEXT),
    RATE_LIMITED,
    LocalReply(431, 3, "the headers are too large"),
    LocalReply(503, 14, _AWAY, "DEPENDENCY_UNAVAILABLE"),
    LocalReply(504, 4, _SLOW),
    LocalReply(500, 13, _ENVOYS, op="GE"),
    LocalReply(400, 3, _ENVOYS, op="GE"),
)


def routes() -> tuple[Route, ...]:
    """List the routes: one for each rpc, then reflection, then whatever is left."""
    own = tuple(_route(method) for method in contract.methods())
    rest = tuple(
        replace(_route(rule.rpc), match={"path": rule.path})
        for rule in contract.rest_rules()
        if rule.rpc.client_streaming
    )
    reflection = Route({"prefix": "/grpc.reflection."}, "system", streams=True)
    # An unknown gRPC method gets UNIMPLEMENTED from a service. It can't be a direct
    # response: filters before the transcoder look REST paths up here, cors among them.
    return (*own, *rest, reflection, Route({"prefix": "/"}, "system"))


def _route(method: MethodDescriptor) -> Route:
    service = method.containing_service
    package = service.file.package.split(".")[1]
    read = contract.is_safe_read(method)
    return Route(
        match={"path": f"/{service.full_name}/{method.name}"},
        cluster=_SERVED_BY.get(package, package),
        timeout=LONG_SECONDS.get(method.full_name, READ_SECONDS if read else WRITE_SECONDS),
        retries=read and method.full_name not in LONG_SECONDS,
        streams=method.server_streaming,
        uploads=method.client_streaming,
        rpc=f"{service.full_name}/{method.name}",
    )


def hosts(settings: GatewaySettings) -> tuple[str, ...]:
    """List the exact Host values that name this gateway.

    A name without a port stands for itself and for itself with the gateway's port.
    """
    own = (f"[{name}]" if ":" in name else name for name in settings.addresses)
    everywhere = ("0.0.0.0", "[::]")  # noqa: S104 (refused as names: no client means them)
    names = ("127.0.0.1", "localhost", "[::1]", *own, *settings.allowed_hosts)
    bare = [name for name in dict.fromkeys(names) if name not in everywhere]
    ported = [f"{name}:{settings.port}" for name in bare if not _PORTED.search(name)]
    return (*bare, *ported)


def origins(settings: GatewaySettings) -> tuple[str, ...]:
    """List the exact web origins that may call the gateway."""
    own = (f"http://{name}:{settings.port}" for name in ("localhost", "127.0.0.1"))
    return tuple(dict.fromkeys((*own, *settings.allowed_origins)))


def _is_address(host: str) -> bool:
    """Tell addresses from names, which Envoy has to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _upstreams(settings: GatewaySettings) -> dict[str, object]:
    """Give where each service is, which of them are found by name, and who answers for whom."""
    peers = {n: (getattr(settings, f"{n}_host"), getattr(settings, f"{n}_port")) for n in SERVICES}
    return {
        "peers": peers,
        "named": [name for name, (host, _) in peers.items() if not _is_address(host)],
        "clusters": {**{name: (name,) for name in SERVICES}, "system": SERVICES},
    }


def render(settings: GatewaySettings, folder: Path) -> Path:
    """Write envoy.yaml and the files that it refers to into a folder; give the first's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptors, script, config = (folder / n for n in ("api.binpb", "guard.lua", "envoy.yaml"))
    write_private(descriptors, contract.descriptor_set().SerializeToString())
    write_private(script, guard.script(settings.keys).encode())
    built = ui.pages(settings.ui_folder)
    environment = Environment(  # YAML: the template writes every free text by tojson
        loader=PackageLoader("gateway", ""),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
    )
    text = environment.get_template("envoy.yaml.j2").render(
        addresses=settings.addresses,
        metrics_port=settings.gateway_metrics_port,
        metrics_path=envoy.PATH,
        port=settings.port,
        hosts=hosts(settings),
        origins=origins(settings),
        verbs=sorted({rule.verb for rule in contract.rest_rules()} | {"OPTIONS"}),
        **_upstreams(settings),
        routes=routes(),
        pages=pages.write(folder, (*pages.pages(), *built)),
        redirects=list(ui.redirects(built)),
        largest_page=pages.LARGEST,
        services=[service.full_name for service in contract.services()],
        local_replies=LOCAL_REPLIES,
        secure_headers=SECURE_HEADERS,
        limits=settings,
        rate_limited=RATE_LIMITED,
        internal_headers=_INTERNAL_HEADERS,
        body_limit=BODY_LIMIT,
        notsent_lowat=getattr(socket, "TCP_NOTSENT_LOWAT", None),
        upload_idle=UPLOAD_IDLE_SECONDS,
        descriptors=str(descriptors),
        guard=str(script),
        collector=collector_of(settings),
    )
    write_private(config, text.encode())
    return config
