"""A job's log: its changes of status and its reports, as they are stored and read back."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.forecast import Forecast
from services.trainer.recipe import Recipe
from services.trainer.replay import Verdict
from services.trainer.reports import (
    Checkpoint,
    CooldownBegan,
    CooldownEnded,
    Evaluation,
    MemoryWait,
    Progress,
    RateLowered,
    Report,
    Step,
    Validation,
    WeightsKept,
)

type Event = TrainingJob | Report

_KINDS: dict[str, type[Report]] = {
    "step": Step,
    "validation": Validation,
    "checkpoint": Checkpoint,
    "rate_lowered": RateLowered,
    "weights_kept": WeightsKept,
    "cooldown_began": CooldownBegan,
    "cooldown_ended": CooldownEnded,
    "memory_wait": MemoryWait,
    "forecast": Forecast,
    "evaluation": Evaluation,
}


@dataclass(frozen=True)
class StoredEvent:
    """An event in a job's log; `sequence` rises by one, across attempts."""

    sequence: int
    attempt: int
    created_at: datetime
    event: Event


def encode(event: Event) -> tuple[str, dict[str, Any]]:
    """Give an event's kind and its JSON payload."""
    if isinstance(event, TrainingJob):
        return "job", {k: _plain(v) for k, v in asdict(event).items()}
    return next(kind for kind, cls in _KINDS.items() if isinstance(event, cls)), asdict(event)


def decode(kind: str, payload: dict[str, Any]) -> Event:
    """Give the event that `encode` wrote."""
    if kind != "job":
        return _KINDS[kind](**payload)
    # A job that was logged before a field was thought of has its default.
    values = {f.name: payload[f.name] for f in fields(TrainingJob) if f.name in payload}
    for name, value in values.items():
        if name.endswith("_at") and value is not None:
            values[name] = datetime.fromisoformat(value)
    values["status"] = JobStatus(values["status"])
    # Jobs of before there was a choice found out nothing.
    values["recipe"] = Recipe(**{"evaluate": False, "samples": 0, **values["recipe"]})
    values["progress"] = Progress(**values["progress"])
    if values.get("verdict") is not None:
        values["verdict"] = Verdict(**values["verdict"])
    return TrainingJob(**values)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
