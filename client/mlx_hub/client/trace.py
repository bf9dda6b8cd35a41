"""The trace that a call goes on, where the calling program has OpenTelemetry."""

try:
    # W3C's form whatever the program propagates elsewhere: it is the one that a hub reads.
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _PROPAGATOR = None
else:
    _PROPAGATOR = TraceContextTextMapPropagator()


def context() -> tuple[tuple[str, str], ...]:
    """Give the current span as gRPC metadata; nothing where there is none."""
    carrier: dict[str, str] = {}
    if _PROPAGATOR is not None:
        _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())
