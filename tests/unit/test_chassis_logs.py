"""Lines for programs and for people, and what may be set of them and of traces."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from services.chassis import logs
from services.chassis.settings import HubSettings, load

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Screen(io.StringIO):
    """A terminal, or a file."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = kept, level


def written(monkeypatch: pytest.MonkeyPatch, form: str, *, terminal: bool) -> str:
    screen = Screen(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs.configure("registry", "INFO", form)
    facts = {"request_id": "r-1", "trace_id": TRACE, "ms": 2.5}
    logging.getLogger("a").warning("wide %s", "awake", extra=facts)
    return screen.getvalue()


@pytest.mark.parametrize(("form", "terminal"), [("json", True), ("auto", False)])
def test_programs_read_objects(
    monkeypatch: pytest.MonkeyPatch, form: str, *, terminal: bool
) -> None:
    line = json.loads(written(monkeypatch, form, terminal=terminal))
    assert (line["level"], line["service"], line["message"]) == (
        "WARNING", "registry", "wide awake",
    )  # fmt: skip
    assert (line["request_id"], line["trace_id"], line["ms"]) == ("r-1", TRACE, 2.5)


@pytest.mark.parametrize(("form", "terminal"), [("text", False), ("auto", True)])
def test_people_read_text_in_colours_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, form: str, *, terminal: bool
) -> None:
    line = written(monkeypatch, form, terminal=terminal)
    assert "registry: wide awake" in line
    assert "request_id=r-1  trace_id=4bf92f35" in line
    assert TRACE not in line, "a person compares its beginning"
    assert ("\033[33mWARNING" in line) == terminal


def test_a_collector_that_is_away_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False)
    monkeypatch.setattr(sys, "stderr", screen)
    logs.configure("registry", "INFO")
    for _ in range(50):
        logging.getLogger("opentelemetry.exporter").error("Failed to export")
    logging.getLogger("ours").error("heard")
    lines = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["Failed to export", "heard"]


def test_a_traceparent_that_is_none_names_no_trace() -> None:
    assert logs.trace_id(f"00-{TRACE}-00f067aa0ba902b7-01") == TRACE
    for text in ("", "junk", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-01"):
        assert logs.trace_id(text) == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLX_HUB_LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:port"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@localhost:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=a%0Ab"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=%C3%A9"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4317"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ],
)
def test_what_would_be_ignored_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        load(HubSettings)
    told = capsys.readouterr().err
    assert variable in told
    assert "secret" not in told


def test_headers_for_the_collector_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    settings = load(HubSettings)
    assert settings.traced
    assert "secret" not in str(settings.masked())
