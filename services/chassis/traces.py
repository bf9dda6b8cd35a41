"""Traces: spans go to a collector if one is named; where none is, they are ids for the logs.

No span ever holds a prompt, an answer, a key, a path or an error's text.
"""

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)
from opentelemetry.util.types import AttributeValue

from services.chassis.errors import HubError
from services.chassis.otlp import OtlpSettings, parse_headers

type Attributes = Mapping[str, AttributeValue]

EXPORT_SECONDS = 3
"""How long a batch may take on its way, retries included; only the exporter's thread waits."""
FLUSH_SECONDS = 1.5
"""What the end of a process spends on the last batch, at most."""
CANCELLED = "CANCELLED"

# One tracer for all: the provider behind it is set once the settings are known.
_tracer = trace.get_tracer("mlx_hub")


def configure(name: str, settings: OtlpSettings) -> None:
    """Send this process's spans to the collector; where there is none, the API's no-ops stay."""
    if not settings.traced:
        return
    exporter = OTLPSpanExporter(
        endpoint=settings.otlp_endpoint,
        headers=parse_headers(settings.otlp_headers),
        timeout=EXPORT_SECONDS,
    )
    resource = Resource.create({"service.name": f"mlx-hub-{name}"})
    # It reads OTEL_TRACES_SAMPLER itself; `flush` ends it, since its own way waits half a minute.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # Bounded: what a slow collector does not take is dropped, and nobody waits for it.
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def flush() -> None:
    """Send what is left, for a moment only."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(FLUSH_SECONDS)


def start(
    name: str,
    attributes: Attributes,
    *,
    parent: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    at: float | None = None,
) -> Span:
    """Begin a span; without a parent it belongs to the current one. `at` is a `time.time()`."""
    begun = None if at is None else _ns(at)
    return _tracer.start_span(name, parent, kind, attributes, start_time=begun)


def serve(name: str, attributes: Attributes, parent: Context) -> Span:
    """Begin the span of a call that came in: untraced, it still has an id for the logs."""
    own = start(name, attributes, parent=parent, kind=SpanKind.SERVER)
    if own.get_span_context().is_valid:
        return own
    # Never all zeros, which would be no ids.
    trace_id, span_id = random.getrandbits(128) | 1, random.getrandbits(64) | 1
    return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))


def record(
    name: str, begun: float, ended: float, parent: Span, attributes: Attributes | None = None
) -> None:
    """Tell of something that is over; both times are `time.time()`."""
    span = start(name, attributes or {}, parent=trace.set_span_in_context(parent), at=begun)
    span.end(_ns(max(begun, ended)))


def failed(span: Span, error: BaseException) -> None:
    """Say how it ended: an error's reason, never its text. Leaving is no error."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        span.set_attribute("error.type", CANCELLED)
        return
    reason = error.reason if isinstance(error, HubError) else type(error).__name__
    span.set_attribute("error.type", reason)
    span.set_status(Status(StatusCode.ERROR, reason))


@contextmanager
def span(name: str, attributes: Attributes, parent: Context | None = None) -> Iterator[Span]:
    """Run a block in a span of its own; not for blocks that yield to somebody else's task."""
    own = start(name, attributes, parent=parent)
    try:
        with trace.use_span(own, record_exception=False, set_status_on_exception=False):
            yield own
    except BaseException as error:
        failed(own, error)
        raise
    finally:
        own.end()


def traceparent() -> str:
    """Give the current span as W3C writes it; empty without one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")


def context_of(carrier: Mapping[str, str]) -> Context:
    """Read what a caller sent, in `traceparent` and `tracestate`; what is malformed is no trace."""
    return propagate.extract(carrier)


def wall(monotonic: float) -> float:
    """Turn a `time.monotonic()` into a `time.time()`."""
    return time.time() - (time.monotonic() - monotonic)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
