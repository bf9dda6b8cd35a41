"""Calls of the trainer: jobs, from the queue to the published version."""

from uuid import uuid4

from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.contract import Call, Pages, method
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "TrainerService", name)


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
    test_fraction: float | None = None,
    checkpoint_every_steps: int | None = None,
    max_attempts: int | None = None,
    request_id: str | None = None,
) -> Call[TrainingJob]:
    """Queue a LoRA job; what is not given takes the hub's default."""
    # Every parameter has its field's name.
    fields = locals() | {"request_id": request_id or str(uuid4())}
    return Call(_rpc("CreateTrainingJob"), pb.CreateTrainingJobRequest(**fields), TrainingJob)


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
