"""Lines on stderr, each with the request and trace it belongs to: JSON, or text on a terminal."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar

from opentelemetry import propagate, trace

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
# What the call being served adds to its access line.
_NOTES: ContextVar[dict[str, int] | None] = ContextVar("notes", default=None)

_EXTRA = (
    "method", "code", "ms", "caller", "bytes_in", "tokens_in", "tokens_out",
    "job_id", "model_id", "version", "attempt", "request_id", "trace_id",
)  # fmt: skip
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
# Each of its threads would tell of each batch that a collector did not take.
_CHATTY, _SECONDS = "opentelemetry", 60.0


class JsonLines(logging.Formatter):
    """One object a line; exceptions as one string."""

    def __init__(self, service: str, ids: Mapping[str, object] | None = None) -> None:
        """Name the service every line comes from, and what else stands in each."""
        super().__init__()
        self._service = service
        self._ids = dict(ids or {})

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **self._ids,
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """For people: time, level, service and message, behind them ids by their beginnings."""

    def __init__(self, service: str, *, coloured: bool) -> None:
        """Name the service every line comes from."""
        super().__init__()
        self._service = service
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        facts = _facts(record).items()
        ids = "  ".join(f"{k}={_short(v)}" for k, v in facts if k not in _IN_MESSAGE)
        head = self._paint(_COLOURS[record.levelname], f"{record.levelname:<8}")
        line = f"{stamp}.{int(record.msecs):03d} {head}{self._service}: {record.getMessage()}"
        if ids:
            line += "  " + self._paint("2", ids)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def _paint(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._coloured else text


_IN_MESSAGE = ("method", "code", "ms")
_MADE = re.compile(r"[0-9a-f-]{32,36}")


def _short(value: object) -> object:
    """Leave of an id that nobody chose as much as a person compares."""
    return value[:8] if isinstance(value, str) and _MADE.fullmatch(value) else value


class Seldom(logging.Filter):
    """Lets one line of a chatty library through a minute: a collector that is away is no flood."""

    def __init__(self) -> None:
        """Have said nothing yet."""
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        if not record.name.startswith(_CHATTY):
            return True
        now = time.monotonic()
        if record.levelno < logging.WARNING or now < self._next:
            return False
        self._next = now + _SECONDS
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
        return True


def trace_id(traceparent: str) -> str:
    """Give the trace of a W3C traceparent, as lines name it; empty where there is none."""
    found = trace.get_current_span(propagate.extract({"traceparent": traceparent}))
    context = found.get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""


def open_notes() -> dict[str, int]:
    """Give what the access line of the call that begins here will add."""
    notes: dict[str, int] = {}
    _NOTES.set(notes)
    return notes


def note(**facts: int) -> None:
    """Add numbers to the access line of the call being served, if one is."""
    notes = _NOTES.get()
    if notes is not None:
        notes.update(facts)


def configure(
    service: str, level: str, form: str = "json", ids: Mapping[str, object] | None = None
) -> None:
    """Send every logger's records to stderr; `form` is json, text or auto."""
    handler = logging.StreamHandler(sys.stderr)
    terminal = sys.stderr.isatty()
    if form == "text" or (form == "auto" and terminal):
        coloured = terminal and not os.environ.get("NO_COLOR")
        handler.setFormatter(TextLines(service, coloured=coloured))
    else:
        handler.setFormatter(JsonLines(service, ids))
    handler.addFilter(Seldom())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A cancelled call is not a fault of ours; grpc logs each one as an error.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """Give a record's ids, those of the call being served, and what else is known of it."""
    facts: dict[str, object] = {}
    if identifier := REQUEST_ID.get():
        facts["request_id"] = identifier
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        facts["trace_id"] = format(span.trace_id, "032x")
    return facts | {key: getattr(record, key) for key in _EXTRA if hasattr(record, key)}
