"""Calls of the trainer: jobs, from the queue to the published version."""

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack
from uuid import uuid4

from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.contract import Call, Pages, method
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "TrainerService", name)


class RecipeFields(TypedDict, total=False):
    """How a job trains; what is left out or None takes the hub's default."""

    lora_rank: int | None
    learning_rate: float | None
    epochs: int | None
    batch_size: int | None
    seed: int | None
    lora_scale: float | None
    lora_dropout: float | None
    lora_layers: int | None
    max_seq_length: int | None
    mask_prompt: bool | None
    validation_fraction: float | None
    test_fraction: float | None
    checkpoint_every_steps: int | None
    max_attempts: int | None
    checkpoints_kept: int | None
    method: str | None
    """`lora`, `dora` or `full`."""
    quantize_bits: int | None
    target_keys: Iterable[str] | None
    optimizer: str | None
    """`adamw`, `adam`, `sgd`, `adafactor` or `lion`."""
    schedule: str | None
    """`constant`, `linear` or `cosine`."""
    warmup_steps: int | None
    weight_decay: float | None
    grad_clip: float | None
    grad_accumulation: int | None
    grad_checkpoint: bool | None


def create_job(
    model_id: int, dataset_id: int, *, request_id: str | None = None, **recipe: Unpack[RecipeFields]
) -> Call[TrainingJob]:
    """Queue a job; what is not given takes the hub's default."""
    fields: dict[str, Any] = {**recipe}
    for name in ("method", "optimizer", "schedule"):
        fields[name] = f"TRAINING_{name}_{fields.get(name) or 'unspecified'}".upper()
    request = pb.CreateTrainingJobRequest(
        model_id=model_id,
        dataset_id=dataset_id,
        request_id=request_id or str(uuid4()),
        **fields,
    )
    return Call(_rpc("CreateTrainingJob"), request, TrainingJob)


def get_job(job_id: int) -> Call[TrainingJob]:
    """Get one job."""
    return Call(_rpc("GetTrainingJob"), pb.GetTrainingJobRequest(job_id=job_id), TrainingJob)


def list_jobs(
    *,
    model_id: int = 0,
    status: str = "unspecified",
    page_size: int = 0,
) -> Pages[pb.ListTrainingJobsResponse, TrainingJob]:
    """List jobs, newest first, of one model or all, in one status (`running`, …) or any."""
    request = pb.ListTrainingJobsRequest(
        page_size=page_size,
        model_id=model_id,
        status=JobStatus.Value(f"JOB_STATUS_{status.upper()}"),
    )
    call = Call(_rpc("ListTrainingJobs"), request, pb.ListTrainingJobsResponse)
    return Pages(call, lambda page: page.jobs, lambda page: page.next_page_token)


def cancel_job(job_id: int) -> Call[TrainingJob]:
    """Cancel a queued or running job; it leaves no version."""
    request = pb.CancelTrainingJobRequest(job_id=job_id)
    return Call(_rpc("CancelTrainingJob"), request, TrainingJob)


def watch_job(job_id: int, *, after_sequence: int | None = None) -> Call[TrainingEvent]:
    """Stream a job's state and then its events: from now on, or all after a sequence."""
    request = pb.WatchTrainingJobRequest(job_id=job_id, after_sequence=after_sequence)
    return Call(_rpc("WatchTrainingJob"), request, TrainingEvent)
