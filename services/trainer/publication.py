"""What the registry is told about a finished job: the files, and all they were made from."""

from dataclasses import dataclass
from datetime import UTC, datetime

from mlx_hub.internal.v1 import worker_pb2
from mlx_hub.registry.v1 import lineage_pb2, publication_pb2

from services.trainer import messages
from services.trainer.domain import TrainingJob
from services.trainer.provenance import Code
from services.trainer.registry import Inputs


@dataclass(frozen=True)
class Result:
    """What a finished worker told."""

    started: worker_pb2.WorkerStarted
    finished: worker_pb2.WorkerFinished


def publication_of(
    job: TrainingJob, inputs: Inputs, code: Code, result: Result, staged_path: str
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
        finished_at=messages.timestamp(datetime.now(UTC)),
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
    )
