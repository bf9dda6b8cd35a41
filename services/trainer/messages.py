"""Between the contract's messages and the domain: paired pure functions."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mlx_hub.registry.v1 import dataset_pb2
from mlx_hub.trainer.v1 import trainer_service_pb2 as service_pb
from mlx_hub.trainer.v1 import training_event_pb2 as event_pb
from mlx_hub.trainer.v1 import training_job_pb2 as pb
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from services.chassis.errors import HubError
from services.chassis.status import to_status
from services.runtime.rows import check_fractions, masks_prompt
from services.trainer import guard_messages, memory_messages
from services.trainer.domain import JobStatus, Order, TrainingJob
from services.trainer.evaluations import choices, evaluation_to_proto
from services.trainer.events import StoredEvent
from services.trainer.forecast import Forecast
from services.trainer.recipe import Recipe, complete
from services.trainer.reports import (
    Checkpoint,
    Evaluation,
    MemoryWait,
    Progress,
    Step,
    Validation,
)
from services.trainer.verdicts import verdict_to_proto

RECIPE_FIELDS = tuple(Recipe.__dataclass_fields__)
# How a job is run, which changes no byte of what is trained.
_LIMITS = ("max_attempts", "checkpoints_kept")
# On the wire these are enums; the domain has the lower-case rest of their values' names.
_ENUMS = {name: f"TRAINING_{name.upper()}_" for name in ("method", "optimizer", "schedule")}


def order_from_proto(
    request: CreateTrainingJobRequest,
    schema: dataset_pb2.DatasetSchema.ValueType,
) -> Order:
    """Fill the defaults in; text rows have no prompt, so asking to mask it is refused."""
    given = _values(request)
    is_text = schema == dataset_pb2.DATASET_SCHEMA_TEXT
    recipe = {name: given[name] for name in RECIPE_FIELDS if name in given}
    recipe["mask_prompt"] = masks_prompt(recipe.get("mask_prompt"), is_text=is_text)
    limits = {name: getattr(request, name) for name in _LIMITS if request.HasField(name)}  # type: ignore[arg-type]
    made = complete(recipe)
    check_fractions(made.validation_fraction, made.test_fraction)
    held_out = made.validation_fraction + made.test_fraction
    made = replace(made, **choices(recipe, held_out))
    return Order(request.model_id, request.dataset_id, made, **limits)


def filters(request: service_pb.ListTrainingJobsRequest) -> dict[str, str]:
    """Give what a page token belongs to."""
    return {"model_id": str(request.model_id), "status": str(request.status)}


def recipe_from_proto(job: pb.TrainingJob) -> Recipe:
    """Read the recipe off a job."""
    values = _values(job)
    return Recipe(**{name: values[name] for name in RECIPE_FIELDS if name in values})


def parameters(job: pb.TrainingJob) -> dict[str, str]:
    """Give every parameter of a job as text, by its field's name, defaults included.

    Prompts may be long and somebody's words: here a digest stands for them.
    """
    values = _values(job)
    if prompts := values["sample_prompts"]:
        digest = hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
        values["sample_prompts"] = f"sha256:{digest}"
    return {name: _text(values[name]) for name in (*RECIPE_FIELDS, *_LIMITS)}


def job_to_proto(job: TrainingJob) -> pb.TrainingJob:
    """Render a job."""
    message = pb.TrainingJob(
        id=job.id,
        status=_STATUS[job.status],
        model_id=job.model_id,
        dataset_id=job.dataset_id,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        checkpoints_kept=job.checkpoints_kept,
        failed_attempts=job.failed_attempts,
        progress=progress_to_proto(job.progress),
        version_id=job.version_id or 0,
        version=job.version or 0,
        created_at=timestamp(job.created_at),
        replay_of=job.replay_of or 0,
        verdict=verdict_to_proto(job.verdict) if job.verdict else None,
        **{name: _wire(name, getattr(job.recipe, name)) for name in RECIPE_FIELDS},
    )
    if job.status is JobStatus.FAILED:
        message.error.reason = job.error_reason or ""
        message.error.message = job.error_message or ""
    for name in ("started_at", "finished_at", "retried_at", "next_attempt_at"):
        if (moment := getattr(job, name)) is not None:
            getattr(message, name).FromDatetime(moment)
    return message


def status_from_proto(status: int) -> JobStatus | None:
    """Read a filter's status; unspecified is none."""
    return _FROM_STATUS.get(status)


def step_to_proto(step: Step) -> event_pb.TrainingStep:
    """Render a step."""
    return event_pb.TrainingStep(**vars(step))


def step_from_proto(message: event_pb.TrainingStep) -> Step:
    """Read a step."""
    return Step(**_set(message, Step.__dataclass_fields__))


def validation_to_proto(validation: Validation) -> event_pb.ValidationResult:
    """Render a validation."""
    return event_pb.ValidationResult(step=validation.step, val_loss=validation.val_loss)


def validation_from_proto(message: event_pb.ValidationResult) -> Validation:
    """Read a validation."""
    return Validation(step=message.step, val_loss=message.val_loss)


def checkpoint_to_proto(checkpoint: Checkpoint) -> event_pb.CheckpointSaved:
    """Render a checkpoint."""
    return event_pb.CheckpointSaved(step=checkpoint.step)


def checkpoint_from_proto(message: event_pb.CheckpointSaved) -> Checkpoint:
    """Read a checkpoint."""
    return Checkpoint(step=message.step)


def frame(item: StoredEvent | HubError) -> event_pb.TrainingEvent:
    """Render one frame of a watch; an error is the last."""
    if isinstance(item, HubError):
        return event_pb.TrainingEvent(error=to_status(item))
    return event_to_proto(item)


def event_to_proto(stored: StoredEvent) -> event_pb.TrainingEvent:
    """Render an event of a job's log as a frame."""
    message = event_pb.TrainingEvent(
        sequence=stored.sequence, attempt=stored.attempt, created_at=timestamp(stored.created_at)
    )
    match stored.event:
        case TrainingJob() as job:
            message.job.CopyFrom(job_to_proto(job))
        case Step() as step:
            message.step.CopyFrom(step_to_proto(step))
        case Validation() as validation:
            message.validation.CopyFrom(validation_to_proto(validation))
        case Checkpoint() as checkpoint:
            message.checkpoint.CopyFrom(checkpoint_to_proto(checkpoint))
        case MemoryWait() as wait:
            message.memory_wait.CopyFrom(memory_messages.wait_to_proto(wait))
        case Forecast() as forecast:
            message.forecast.CopyFrom(memory_messages.forecast_to_proto(forecast))
        case Evaluation() as evaluation:
            message.evaluation.CopyFrom(evaluation_to_proto(evaluation))
        case guarded:
            guard_messages.put(message, guarded)
    return message


_STATUS = {
    JobStatus.QUEUED: pb.JOB_STATUS_QUEUED,
    JobStatus.RUNNING: pb.JOB_STATUS_RUNNING,
    JobStatus.COMPLETED: pb.JOB_STATUS_COMPLETED,
    JobStatus.FAILED: pb.JOB_STATUS_FAILED,
    JobStatus.CANCELLED: pb.JOB_STATUS_CANCELLED,
}
_FROM_STATUS: dict[int, JobStatus] = {number: status for status, number in _STATUS.items()}


def progress_from_proto(message: pb.TrainingProgress) -> Progress:
    """Read how far a job is."""
    return Progress(**_set(message, Progress.__dataclass_fields__))


def progress_to_proto(progress: Progress) -> pb.TrainingProgress:
    """Render how far a job is."""
    return pb.TrainingProgress(**vars(progress))


def timestamp(moment: datetime) -> Timestamp:
    """Render a time."""
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message


def _values(message: Message) -> dict[str, Any]:
    """Give a message's fields, floats as the shortest that they were written as.

    An enum that was not specified is left out.
    """
    values = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for name, prefix in _ENUMS.items():
        word = values.pop(name).removeprefix(prefix).lower()
        if word != "unspecified":
            values[name] = word
    return values


def _set(message: Message, names: Iterable[str]) -> dict[str, Any]:
    """Give a message's fields by name, without those that may be unset and are."""
    fields = message.DESCRIPTOR.fields_by_name
    given = (n for n in names if not fields[n].has_presence or message.HasField(n))
    return {name: getattr(message, name) for name in given}


def _wire(name: str, value: Any) -> Any:
    return _ENUMS[name] + value.upper() if name in _ENUMS else value


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
