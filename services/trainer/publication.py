"""What the registry is told about a finished job: the files, and all they were made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mlx_hub.internal.v1 import worker_pb2
from mlx_hub.registry.v1 import lineage_pb2, publication_pb2

from services.trainer import evaluations, messages
from services.trainer.domain import TrainingJob
from services.trainer.history import Outcome, PastAttempt
from services.trainer.provenance import Code
from services.trainer.registry import Inputs


@dataclass(frozen=True)
class Result:
    """What a finished worker told."""

    started: worker_pb2.WorkerStarted
    finished: worker_pb2.WorkerFinished
    ended_at: datetime


def publication_of(
    job: TrainingJob,
    attempts: Sequence[PastAttempt],
    inputs: Inputs,
    code: Code,
    result: Result,
    staged_path: str,
) -> publication_pb2.PublishVersionRequest:
    """Build the request; everything in it was recorded, nothing is looked up now."""
    training = lineage_pb2.TrainingProvenance(
        job_id=job.id,
        attempt=job.attempt,
        seed=job.recipe.seed,
        parameters=messages.parameters(messages.job_to_proto(job)),
        code_commit=code.commit,
        code_dirty=code.dirty,
        lock_digest=code.lock_digest,
        environment=result.started.environment,
        started_at=messages.timestamp(job.started_at or job.created_at),
        finished_at=messages.timestamp(result.ended_at),
        attempts=[_attempt(attempt) for attempt in attempts],
    )
    return publication_pb2.PublishVersionRequest(
        model_id=job.model_id,
        dataset_id=job.dataset_id,
        staged_path=staged_path,
        files=result.finished.files,
        metrics=result.finished.metrics,
        training=training,
        base_digest=inputs.base_digest,
        dataset_digest=inputs.dataset_digest,
        train_rows=result.started.train_rows,
        valid_rows=result.started.valid_rows,
        test_rows=result.started.test_rows,
        split_seed=job.recipe.seed,
        validation_fraction=job.recipe.validation_fraction,
        test_fraction=job.recipe.test_fraction,
        evaluations=evaluations.published(job, result.finished.evaluations),
        samples=result.finished.samples,
    )


_OUTCOMES = {
    Outcome.FINISHED: lineage_pb2.ATTEMPT_OUTCOME_FINISHED,
    Outcome.HANDED_BACK: lineage_pb2.ATTEMPT_OUTCOME_HANDED_BACK,
    Outcome.LOST: lineage_pb2.ATTEMPT_OUTCOME_LOST,
    Outcome.FAILED: lineage_pb2.ATTEMPT_OUTCOME_FAILED,
    Outcome.CANCELLED: lineage_pb2.ATTEMPT_OUTCOME_CANCELLED,
}


def _attempt(attempt: PastAttempt) -> lineage_pb2.TrainingAttempt:
    return lineage_pb2.TrainingAttempt(
        number=attempt.number,
        started_at=messages.timestamp(attempt.started_at),
        ended_at=messages.timestamp(attempt.ended_at),
        outcome=_OUTCOMES[attempt.outcome],
        resumed_from_step=attempt.resumed_from_step,
        last_step=attempt.last_step,
    )
