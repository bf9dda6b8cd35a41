"""A job's log as the registry hears it: what is measured and how attempts begin and end."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from mlx_hub.registry.v1 import lineage_pb2
from mlx_hub.registry.v1 import training_record_pb2 as pb

from services.trainer import messages
from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.evaluations import measured as evaluated
from services.trainer.events import StoredEvent
from services.trainer.reports import Evaluation, Step, Validation

_OUTCOME = {
    JobStatus.COMPLETED: lineage_pb2.ATTEMPT_OUTCOME_FINISHED,
    JobStatus.FAILED: lineage_pb2.ATTEMPT_OUTCOME_FAILED,
    JobStatus.CANCELLED: lineage_pb2.ATTEMPT_OUTCOME_CANCELLED,
}


def facts_of(
    before: TrainingJob | None, events: Iterable[StoredEvent]
) -> Iterator[pb.TrainingFact]:
    """Give the facts in a stretch of a job's log; `before` is the job as the log had it last."""
    for stored in events:
        fact = pb.TrainingFact(
            sequence=stored.sequence,
            attempt=stored.attempt,
            occurred_at=messages.timestamp(stored.created_at),
        )
        match stored.event:
            case TrainingJob() as job:
                if job.status is JobStatus.RUNNING:
                    fact.started.dataset_id = job.dataset_id
                    fact.started.parameters.update(messages.parameters(messages.job_to_proto(job)))
                    yield fact
                elif before is not None and before.status is JobStatus.RUNNING:
                    fact.ended.outcome = _outcome(before, job)
                    fact.ended.reason = job.error_reason or ""
                    yield fact
                before = job
            case Step() as step:
                measured = asdict(step)
                for name in ("total_steps", "eta_seconds"):  # true of the moment only
                    del measured[name]
                yield _measured(fact, measured.pop("step"), measured)
            case Validation() as validation:
                yield _measured(fact, validation.step, {"val_loss": validation.val_loss})
            case Evaluation() as evaluation:
                yield _measured(fact, 0, evaluated(evaluation))


def _outcome(before: TrainingJob, job: TrainingJob) -> lineage_pb2.AttemptOutcome.ValueType:
    if job.status is not JobStatus.QUEUED:
        return _OUTCOME[job.status]
    if job.failed_attempts > before.failed_attempts:
        return lineage_pb2.ATTEMPT_OUTCOME_LOST
    return lineage_pb2.ATTEMPT_OUTCOME_HANDED_BACK


def _measured(
    fact: pb.TrainingFact, step: int, values: Mapping[str, float | None]
) -> pb.TrainingFact:
    fact.measured.step = step
    known = {k: v for k, v in values.items() if v is not None and math.isfinite(v)}
    fact.measured.metrics.update(known)
    return fact
