"""Calls of the trainer: jobs, from the queue to the published version."""

from collections.abc import Iterable
from uuid import uuid4

from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.contract import Call, Pages, method
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import (
    JobStatus,
    TrainingJob,
    TrainingMethod,
    TrainingOptimizer,
    TrainingSchedule,
)


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "TrainerService", name)


def _label(prefix: str, word: str | None) -> str:
    return f"{prefix}_{word or 'unspecified'}".upper()


def create_job(
    model_id: int,
    dataset_id: int,
    *,
    lora_rank: int | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    lora_scale: float | None = None,
    lora_dropout: float | None = None,
    lora_layers: int | None = None,
    max_seq_length: int | None = None,
    mask_prompt: bool | None = None,
    validation_fraction: float | None = None,
    checkpoint_every_steps: int | None = None,
    max_attempts: int | None = None,
    method: str | None = None,
    quantize_bits: int | None = None,
    target_keys: Iterable[str] | None = None,
    optimizer: str | None = None,
    schedule: str | None = None,
    warmup_steps: int | None = None,
    weight_decay: float | None = None,
    grad_clip: float | None = None,
    grad_accumulation: int | None = None,
    grad_checkpoint: bool | None = None,
    request_id: str | None = None,
) -> Call[TrainingJob]:
    """Queue a job; what is not given takes the hub's default.

    The method is `lora`, `dora` or `full`, the optimizer `adamw`, `adam`, `sgd`, `adafactor` or
    `lion`, the schedule `constant`, `linear` or `cosine`.
    """
    request = pb.CreateTrainingJobRequest(
        model_id=model_id,
        dataset_id=dataset_id,
        lora_rank=lora_rank,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        lora_scale=lora_scale,
        lora_dropout=lora_dropout,
        lora_layers=lora_layers,
        max_seq_length=max_seq_length,
        mask_prompt=mask_prompt,
        validation_fraction=validation_fraction,
        checkpoint_every_steps=checkpoint_every_steps,
        max_attempts=max_attempts,
        method=TrainingMethod.Value(_label("TRAINING_METHOD", method)),
        quantize_bits=quantize_bits,
        target_keys=target_keys,
        optimizer=TrainingOptimizer.Value(_label("TRAINING_OPTIMIZER", optimizer)),
        schedule=TrainingSchedule.Value(_label("TRAINING_SCHEDULE", schedule)),
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        grad_clip=grad_clip,
        grad_accumulation=grad_accumulation,
        grad_checkpoint=grad_checkpoint,
        request_id=request_id or str(uuid4()),
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
