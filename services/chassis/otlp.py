"""Where spans go: OpenTelemetry's own variables, read once and refused where they are wrong."""

import os
import re
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings

_HEADER = re.compile(r"[a-z0-9_.-]+")
# Each would send spans elsewhere, or otherwise, than this page says.
_UNREAD = re.compile(r"OTEL_EXPORTER_OTLP_TRACES_.*|OTEL_TRACES_EXPORTER")


def _endpoint(text: str) -> str:
    """Check `http://host:port` or `https://host:port`."""
    if not text:
        return text
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:
        sound = False
    if not sound or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(
            "not the address of an OTLP collector over gRPC; give http://HOST:PORT, or "
            "https://HOST:PORT for TLS, without user or path; 4317 is the usual port"
        )
    return text


def _headers(text: str) -> str:
    parse_headers(text)
    return text


def parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    """Read `name=value,name=value`, values percent-encoded; raises ValueError."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    found = tuple((name.strip().lower(), unquote(value.strip())) for name, _, value in pairs)
    for name, value in found:
        plain = value.isascii() and value.isprintable()
        if not _HEADER.fullmatch(name) or not value or not plain:
            raise ValueError(
                "not of the form name=value,name=value, with lower-case names and values that are "
                "percent-encoded ASCII"
            )
    return found


class OtlpSettings(BaseSettings):
    """The part of OpenTelemetry's environment that the hub honours, by its own names."""

    otlp_endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    """OTEL_EXPORTER_OTLP_ENDPOINT: the collector that spans go to; empty sends none."""
    otlp_headers: Annotated[str, AfterValidator(_headers)] = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_HEADERS"
    )
    """OTEL_EXPORTER_OTLP_HEADERS: `name=value,…` that the collector wants, such as a key."""
    otlp_protocol: Literal["grpc"] = Field(
        default="grpc", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    """OTEL_EXPORTER_OTLP_PROTOCOL: only grpc is spoken."""
    otel_disabled: bool = Field(default=False, validation_alias="OTEL_SDK_DISABLED")
    """OTEL_SDK_DISABLED: true sends no spans, whatever the endpoint is."""
    traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field(default="parentbased_always_on", validation_alias="OTEL_TRACES_SAMPLER")
    """OTEL_TRACES_SAMPLER: which traces are recorded."""
    traces_sampler_arg: float = Field(
        default=1.0, ge=0, le=1, validation_alias="OTEL_TRACES_SAMPLER_ARG"
    )
    """OTEL_TRACES_SAMPLER_ARG: the share of traces that the ratio samplers record."""

    @property
    def traced(self) -> bool:
        """Tell whether spans are sent anywhere."""
        return bool(self.otlp_endpoint) and not self.otel_disabled

    @property
    def traced_share(self) -> float:
        """Give the share of the traces begun here that are recorded."""
        if self.traces_sampler.endswith("ratio"):
            return self.traces_sampler_arg
        return float(self.traces_sampler.endswith("always_on"))

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if unread := sorted(name for name in os.environ if _UNREAD.fullmatch(name)):
            raise ValueError(
                f"setting {unread[0]} is not read; use OTEL_EXPORTER_OTLP_ENDPOINT and "
                "OTEL_EXPORTER_OTLP_HEADERS, which are for traces alone here"
            )
        return self
