"""The spans of an attempt at a job, in the trace of the call that created the job.

The training process has no exporter: what it reports, as it reports it, is what spans are made of.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlx_hub.internal.v1 import worker_pb2 as pb
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from services.chassis import traces
from services.trainer.domain import JobStatus, TrainingJob

# What the time before a report was spent on; a checkpoint's or an evaluation's ends a stretch of
# training, while a validation is a part of one.
_SPENT_ON = {
    "started": "prepare",
    "validation": "validate",
    "checkpoint": "checkpoint",
    "evaluation": "evaluate",
    "finished": "export",
}


@contextmanager
def attempt(job: TrainingJob, claimed_from: float) -> Iterator[Span]:
    """Run an attempt in its span; `claimed_from` is the `time.time()` at which it was asked for."""
    facts: dict[str, AttributeValue] = {
        "mlx_hub.job.id": job.id,
        "mlx_hub.job.attempt": job.attempt,
        "mlx_hub.model.id": job.model_id,
        "mlx_hub.dataset.id": job.dataset_id,
        "mlx_hub.training.method": str(job.recipe.method),
    }
    parent = traces.context_of({"traceparent": job.traceparent})
    with traces.span("training attempt", facts, parent) as span:
        now = time.time()
        if job.due_at:
            traces.record("queue", job.due_at.timestamp(), claimed_from, span)
        traces.record("claim", claimed_from, now, span)
        yield span


def ended(span: Span, job: TrainingJob | None) -> None:
    """Say how an attempt left its job; None is a job that somebody else has."""
    if job is None or job.status is JobStatus.FAILED:
        reason = "STALE_ATTEMPT" if job is None else str(job.error_reason)
        span.set_attribute("error.type", reason)
        span.set_status(Status(StatusCode.ERROR, reason))
    elif job.status is JobStatus.CANCELLED:
        span.set_attribute("error.type", traces.CANCELLED)
    if job is not None:
        span.set_attribute("mlx_hub.job.status", str(job.status))


class Trail:
    """Makes spans of what a training process reports, within the current one."""

    def __init__(self) -> None:
        """Begin when the process is started."""
        self._span = trace.get_current_span()
        self._last = time.time()
        self._begun = self._trained = 0.0
        """Of the stretch of training that goes on: when it began and its last step ended."""
        self._steps: list[pb.WorkerStep] = []

    def hear(self, event: pb.WorkerEvent) -> None:
        """Take a report, as soon as it comes."""
        kind, now = event.WhichOneof("event") or "", time.time()
        if kind == "step":
            self._begun = self._begun or self._last
            self._trained = now
            self._steps = [*self._steps[:1], event.step]
        elif name := _SPENT_ON.get(kind):
            if kind != "validation":
                self.close()
            traces.record(name, self._last, now, self._span)
        self._last = now

    def close(self) -> None:
        """End the stretch of training."""
        if self._steps:
            first, last = self._steps[0].step, self._steps[-1].step
            facts = {
                "mlx_hub.step.first": first.step,
                "mlx_hub.step.last": last.step,
                "mlx_hub.loss": last.loss,
            }
            traces.record("train", self._begun, self._trained, self._span, facts)
        self._begun, self._steps = 0.0, []
