"""JSON lines on stderr, each with the request and trace it belongs to."""

import json
import logging
import sys
import time
from contextvars import ContextVar

from opentelemetry import trace

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

_EXTRA = ("method", "code", "ms", "job_id", "model_id", "version", "attempt")


class JsonLines(logging.Formatter):
    """One object a line; exceptions as one string."""

    def __init__(self, service: str) -> None:
        """Name the service every line comes from."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identifier := REQUEST_ID.get():
            line["request_id"] = identifier
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = format(span.trace_id, "032x")
        line.update({key: getattr(record, key) for key in _EXTRA if hasattr(record, key)})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(service: str, level: str) -> None:
    """Send every logger's records to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A cancelled call is not a fault of ours; grpc logs each one as an error.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
