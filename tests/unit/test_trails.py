"""What spans say of answers and attempts, however they end."""

import asyncio
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from services.chassis import traces
from services.chassis.errors import Unavailable
from services.inference.domain import Finished, Generation, Reason
from services.inference.trail import Course, Phase
from services.trainer import trail
from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.recipe import Recipe
from tests.fixtures.generations import target

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "_tracer", provider.get_tracer("test"))
    return exporter


def seen(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


class Clock:
    """A second passes between two looks."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def seconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e9


def test_an_answers_phases_are_as_long_as_the_engine_says(spans: InMemorySpanExporter) -> None:
    course = Course(target(), Generation(prompt="secret"), clock=Clock())
    for phase in (Phase.LOADING, Phase.PREFILL, Phase.DECODE, Phase.DECODE):
        course.enter(phase)
    # At 5 s it ends: first token at 4.6, its row at 4.2, its tokens ready at 4.1, submitted at 3.
    reason: Reason = "length"
    course.finish(Finished(reason, 7, 3, 0, ttft_ms=500, wait_ms=100, decode_ms=400), 3600)
    course.close()
    found = seen(spans)
    lengths = {name: round(seconds(span), 3) for name, span in found.items() if "text" not in name}
    assert lengths["queue"] == lengths["load"] == 1
    assert (lengths["prepare"], lengths["prefill"]) == (1.2, 0.4)
    [own] = [span for name, span in found.items() if name.startswith("text_completion")]
    assert own.attributes is not None
    assert own.attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert own.status.status_code is StatusCode.UNSET
    assert "secret" not in "".join(span.to_json() for span in found.values())


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (Unavailable("ENGINE_DIED", "the engine ended at secret"), "ENGINE_DIED", StatusCode.ERROR),
        (RuntimeError("secret"), "RuntimeError", StatusCode.ERROR),
        (asyncio.CancelledError(), "CANCELLED", StatusCode.UNSET),
        (GeneratorExit(), "CANCELLED", StatusCode.UNSET),
    ],
)
def test_an_answer_that_ends_early_says_where_and_why(
    spans: InMemorySpanExporter, error: BaseException, kind: str, status: StatusCode
) -> None:
    course = Course(target(), Generation(prompt="x"), clock=Clock())
    course.enter(Phase.LOADING)
    course.enter(Phase.PREFILL)
    course.fail(error)
    course.close()
    found = seen(spans)
    assert {"queue", "load", "prefill"} < set(found)
    [own] = [span for name, span in found.items() if name.startswith("text_completion")]
    assert own.attributes is not None
    assert (own.attributes["error.type"], own.attributes["mlx_hub.phase"]) == (kind, "prefill")
    assert own.status.status_code is status
    assert "secret" not in own.to_json()


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (JobStatus.COMPLETED, None, StatusCode.UNSET),
        (JobStatus.CANCELLED, "CANCELLED", StatusCode.UNSET),
        (JobStatus.FAILED, "DISK_FULL", StatusCode.ERROR),
        (None, "STALE_ATTEMPT", StatusCode.ERROR),
    ],
)
def test_an_attempt_says_how_it_left_its_job(
    spans: InMemorySpanExporter, status: JobStatus | None, kind: str | None, told: StatusCode
) -> None:
    job = TrainingJob(1, JobStatus.RUNNING, 2, 3, Recipe(), 3, START, attempt=1, due_at=START)
    left = TrainingJob(1, status, 2, 3, Recipe(), 3, START) if status else None
    if left and status is JobStatus.FAILED:
        left = TrainingJob(1, status, 2, 3, Recipe(), 3, START, error_reason="DISK_FULL")
    with trail.attempt(job, START.timestamp() + 9) as span:
        trail.ended(span, left)
    found = seen(spans)
    own = found["training attempt"]
    assert own.attributes is not None
    assert own.attributes.get("error.type") == kind
    assert own.status.status_code is told
    assert round(seconds(found["queue"])) == 9
