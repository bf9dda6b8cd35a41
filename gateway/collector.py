"""Where Envoy sends its own spans: to the collector that the services send theirs to."""

import ipaddress
import os
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit

from gateway.settings import GatewaySettings
from services.chassis.otlp import parse_headers


@dataclass(frozen=True)
class Collector:
    """An OTLP receiver over gRPC."""

    host: str
    port: int
    headers: tuple[tuple[str, str], ...]
    share: float
    """Of the traces that begin at the gateway; those that callers began go on as they are."""
    roots: str = ""
    """The file with the certificates to check its own by; empty without TLS."""

    @property
    def san(self) -> str:
        """Give what kind of name its certificate is for."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return "DNS"
        return "IP_ADDRESS"


def collector_of(settings: GatewaySettings) -> Collector | None:
    """Read the settings; None where no spans are sent."""
    if not settings.traced:
        return None
    parts = urlsplit(settings.otlp_endpoint)
    roots = ""
    if parts.scheme == "https":
        # What the services' exporter goes by.
        own = str(files("grpc") / "_cython" / "_credentials" / "roots.pem")
        roots = os.environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE") or own
    headers = parse_headers(settings.otlp_headers)
    return Collector(parts.hostname or "", parts.port or 0, headers, settings.traced_share, roots)
