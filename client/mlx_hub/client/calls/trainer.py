"""Calls of the trainer: jobs, from the queue to the published version."""

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack
from uuid import uuid4

from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.contract import Call, Pages, method
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_log_pb2 as log_pb
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob
from mlx_hub.trainer.v1.training_memory_pb2 import ForecastTrainingResponse
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest


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
    nonfinite_lr_factor: float | None
    early_stop_patience: int | None
    early_stop_min_delta: float | None
    evaluate: bool | None
    samples: int | None
    sample_prompts: Iterable[str] | None
    sample_tokens: int | None


def create_job(
    model_id: int, dataset_id: int, *, request_id: str | None = None, **recipe: Unpack[RecipeFields]
) -> Call[TrainingJob]:
    """Queue a job; what is not given takes the hub's default."""
    request = _job(model_id, dataset_id, recipe)
    request.request_id = request_id or str(uuid4())
    return Call(_rpc("CreateTrainingJob"), request, TrainingJob)


def forecast_job(
    model_id: int, dataset_id: int, **recipe: Unpack[RecipeFields]
) -> Call[ForecastTrainingResponse]:
    """Tell how much memory such a job would need, and whether it would fit; queue nothing."""
    request = _job(model_id, dataset_id, recipe)
    return Call(_rpc("ForecastTraining"), request, ForecastTrainingResponse)


def _job(model_id: int, dataset_id: int, recipe: RecipeFields) -> CreateTrainingJobRequest:
    fields: dict[str, Any] = {**recipe}
    for name in ("method", "optimizer", "schedule"):
        fields[name] = f"TRAINING_{name}_{fields.get(name) or 'unspecified'}".upper()
    return CreateTrainingJobRequest(model_id=model_id, dataset_id=dataset_id, **fields)


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


def retry_job(job_id: int) -> Call[TrainingJob]:
    """Queue a failed or cancelled job again, from its last checkpoint if that is still there."""
    return Call(_rpc("RetryTrainingJob"), pb.RetryTrainingJobRequest(job_id=job_id), TrainingJob)


def replay_job(job_id: int, *, request_id: str | None = None) -> Call[TrainingJob]:
    """Queue a replay of a completed job; it publishes nothing and ends with a `verdict`."""
    request = pb.ReplayTrainingJobRequest(job_id=job_id, request_id=request_id or str(uuid4()))
    return Call(_rpc("ReplayTrainingJob"), request, TrainingJob)


def watch_job(job_id: int, *, after_sequence: int | None = None) -> Call[TrainingEvent]:
    """Stream a job's state and then its events: from now on, or all after a sequence."""
    request = pb.WatchTrainingJobRequest(job_id=job_id, after_sequence=after_sequence)
    return Call(_rpc("WatchTrainingJob"), request, TrainingEvent)


def list_logs(
    job_id: int, *, after_sequence: int = 0, newest_first: bool = False, page_size: int = 0
) -> Pages[log_pb.ListTrainingJobLogsResponse, log_pb.TrainingLogLine]:
    """List what was said about a job behind a sequence, oldest or newest first."""
    request = log_pb.ListTrainingJobLogsRequest(
        job_id=job_id,
        after_sequence=after_sequence,
        newest_first=newest_first,
        page_size=page_size,
    )
    call = Call(_rpc("ListTrainingJobLogs"), request, log_pb.ListTrainingJobLogsResponse)
    return Pages(call, lambda page: page.lines, lambda page: page.next_page_token)


def tail_logs(
    job_id: int, *, lines: int | None = None, after_sequence: int | None = None
) -> Call[log_pb.TrainingLogEvent]:
    """Stream the last lines of a job's log, or all behind a sequence, then each new one."""
    request = log_pb.TailTrainingJobLogsRequest(
        job_id=job_id, lines=lines, after_sequence=after_sequence
    )
    return Call(_rpc("TailTrainingJobLogs"), request, log_pb.TrainingLogEvent)
