"""What guards report survives every form it takes, and moves the progress as a watcher expects."""

import pytest
from mlx_hub.internal.v1 import worker_pb2
from mlx_hub.trainer.v1 import training_event_pb2 as pb
from pydantic import ValidationError

from services.trainer import cooldown, events, guard_messages, messages
from services.trainer.events import StoredEvent
from services.trainer.reports import (
    CooldownBegan,
    CooldownEnded,
    Guarded,
    Progress,
    RateLowered,
    WeightsKept,
)
from services.trainer.settings import TrainerSettings
from tests.unit.test_trainer_messages import NOW

REPORTS: list[tuple[Guarded, str]] = [
    (RateLowered(7, 4, 0.5), "learning_rate_lowered"),
    (WeightsKept(30, 20, 1.5, stopped_early=True), "weights_kept"),
    (CooldownBegan(5, 96.5, None), "cooldown_began"),
    (CooldownBegan(5, None, "heavy"), "cooldown_began"),
    (CooldownEnded(5, 2.5, still_hot=False), "cooldown_ended"),
]


@pytest.mark.parametrize(("report", "field"), REPORTS)
def test_a_report_goes_from_the_worker_by_the_log_to_the_watcher(
    report: Guarded, field: str
) -> None:
    sent = guard_messages.to_worker_event(report).SerializeToString()
    heard = guard_messages.from_worker_event(worker_pb2.WorkerEvent.FromString(sent))
    assert heard == report
    stored = events.decode(*events.encode(heard))
    assert stored == report
    frame = messages.frame(StoredEvent(3, 1, NOW, stored))
    assert (frame.sequence, frame.WhichOneof("event")) == (3, field)
    assert getattr(frame, field).step == report.step


def test_other_reports_are_none_of_the_guards() -> None:
    assert guard_messages.from_worker_event(worker_pb2.WorkerEvent()) is None
    checkpoint = worker_pb2.WorkerEvent(checkpoint=worker_pb2.WorkerCheckpoint(seconds=1))
    assert guard_messages.from_worker_event(checkpoint) is None


def test_a_watcher_sees_what_was_hot() -> None:
    frame = messages.frame(StoredEvent(1, 1, NOW, CooldownBegan(5, None, "trapping")))
    assert frame.cooldown_began.pressure == pb.THERMAL_PRESSURE_TRAPPING
    assert not frame.cooldown_began.HasField("celsius")
    frame = messages.frame(StoredEvent(1, 1, NOW, CooldownBegan(5, 96.5, None)))
    assert (frame.cooldown_began.celsius, frame.cooldown_began.pressure) == (96.5, 0)


def test_progress_goes_back_with_the_run_and_ends_where_it_ended() -> None:
    progress = Progress(step=9, total_steps=40, val_loss=2.0)
    assert progress.after(RateLowered(10, 4, 0.5)).step == 4
    ended = progress.after(WeightsKept(9, 5, 1.5, stopped_early=True))
    assert (ended.step, ended.total_steps, ended.val_loss) == (9, 9, 1.5)
    assert progress.after(CooldownEnded(9, 1.0, still_hot=True)) == progress


URL = "postgresql://localhost/x"


def test_the_operators_policy() -> None:
    default = cooldown.policy(TrainerSettings(database_url=URL))
    assert default is not None
    assert (default.celsius, default.longest_seconds, default.sensor_file) == (95, 600, "")
    assert default.pressure == pb.THERMAL_PRESSURE_HEAVY
    assert cooldown.policy(TrainerSettings(database_url=URL, cooldown_longest_seconds=0)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("celsius", 19), ("celsius", 151), ("poll_seconds", 0), ("longest_seconds", 86401),
     ("pressure", "nominal")],
)  # fmt: skip
def test_the_policy_has_bounds(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        TrainerSettings.model_validate({"database_url": URL, f"cooldown_{name}": value})
