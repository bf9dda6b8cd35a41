"""A run that is not finite goes back, one that only gets worse ends, and both resume exactly.

Layers are normalised, so a real overflow takes a scale that no request may name.
"""

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx_hub.internal.v1 import worker_pb2 as pb
from safetensors.numpy import load_file

from services.runtime.folder import digest
from tests.fixtures.worker import Child, Spawn

DIVERGES: dict[str, Any] = {
    "optimizer": "TRAINING_OPTIMIZER_LION", "learning_rate": 1, "lora_scale": 3e18,
    "warmup_steps": 8, "lora_dropout": 0.1, "validation_fraction": 0,
}  # fmt: skip
WORSENS: dict[str, Any] = {"learning_rate": 0.05, "epochs": 30, "early_stop_patience": 2}


def end(child: Child) -> list[pb.WorkerEvent]:
    """Read what is left; the child must end by itself."""
    events = list(child.events())
    assert child.process.wait() == 0
    return events


def outcome(events: list[pb.WorkerEvent]) -> tuple[dict[str, str], dict[str, float]]:
    finished = events[-1].finished
    assert finished.files, events[-1]
    return {file.name: file.sha256 for file in finished.files}, dict(finished.metrics)


def kill(child: Child) -> None:
    child.process.send_signal(signal.SIGKILL)
    child.process.wait()


def until(child: Child, field: str) -> pb.WorkerEvent:
    """Read up to the first event of a kind."""
    return next(event for event in child.events() if event.HasField(field))  # type: ignore[arg-type]


def only(events: Iterable[pb.WorkerEvent], field: str) -> pb.WorkerEvent:
    [event] = [e for e in events if e.HasField(field)]  # type: ignore[arg-type]
    return event


def step_numbers(events: list[pb.WorkerEvent]) -> list[int]:
    return [e.step.step.step for e in events if e.HasField("step")]


def test_the_rate_is_lowered_once_and_the_bytes_are_those_of_one_run(
    spawn_worker: Spawn, tmp_path: Path
) -> None:
    recipe = {**DIVERGES, "nonfinite_lr_factor": 0.1}
    events = end(spawn_worker(folder="straight", **recipe))
    straight = outcome(events)
    lowered = only(events, "learning_rate_lowered").learning_rate_lowered
    assert lowered.factor == pytest.approx(0.1)
    # The last update before the fault is not trusted, and checkpoints come every two steps.
    back = lowered.resumed_from_step
    assert back == (lowered.step - 2) // 2 * 2
    assert step_numbers(events) == [*range(1, lowered.step), *range(back + 1, 13)]
    rates = [e.step.step.learning_rate for e in events if e.HasField("step")]
    warm = [min(step, 8) / 8 for step in range(1, 13)]
    assert rates == pytest.approx(warm[: lowered.step - 1] + [r / 10 for r in warm[back:]])
    assert straight[1]["learning_rate_factor"] == pytest.approx(0.1)
    adapter = load_file(tmp_path / "straight" / "attempt-1" / "adapters.safetensors")
    assert all(np.isfinite(array).all() for array in adapter.values())

    killed = spawn_worker(folder="killed", **recipe)
    until(killed, "learning_rate_lowered")
    killed.until_step(back + 1)
    kill(killed)
    events = end(spawn_worker(folder="killed", **recipe))
    assert outcome(events) == straight
    assert [e for e in events if e.HasField("learning_rate_lowered")] == []

    # A checkpoint of a hand-back lies between those of the recipe: it must not be gone back to.
    stopped = spawn_worker(folder="stopped", hold=lowered.step - 2, **recipe)
    stopped.until_step(lowered.step - 2)
    stopped.stop(save=True)
    end(stopped)
    assert outcome(end(spawn_worker(folder="stopped", **recipe))) == straight


def test_a_second_time_fails_and_keeps_the_last_finite_weights(
    spawn_worker: Spawn, tmp_path: Path
) -> None:
    recipe = {
        **{**DIVERGES, "lora_scale": 1e19, "warmup_steps": 0, "epochs": 4},
        "nonfinite_lr_factor": 0.1,
    }
    events = end(spawn_worker(**recipe))
    first = only(events, "learning_rate_lowered").learning_rate_lowered
    failed, last = events[-1].failed, step_numbers(events)[-1]
    assert failed.reason == "UNTRAINABLE"
    assert f"not finite at step {last + 1} (line" in failed.message
    assert f"lowered to 0.1 of the recipe's before, for step {first.step}" in failed.message
    name = f"job/checkpoints/step-{last:08d}"
    assert f"{name} under STORAGE_ACTIVE_PATH" in failed.message
    assert str(tmp_path) not in failed.message
    kept = load_file(tmp_path / name / "adapters.safetensors")
    assert all(np.isfinite(array).all() for array in kept.values())
    # Another attempt at the same job fails as fast as it can, and just as.
    again = end(spawn_worker(**recipe))
    assert (again[-1].failed, step_numbers(again)) == (failed, [])


def test_where_no_update_came_before_nothing_is_tried_again(spawn_worker: Spawn) -> None:
    recipe = {**DIVERGES, "lora_scale": 1e30, "nonfinite_lr_factor": 0.1}
    events = end(spawn_worker(**recipe))
    assert "not finite at step 1 " in events[-1].failed.message
    assert "no update came before it" in events[-1].failed.message
    assert step_numbers(events) == []


def test_an_early_stop_publishes_the_weights_of_the_lowest_validation(
    spawn_worker: Spawn, tmp_path: Path
) -> None:
    events = end(spawn_worker(folder="straight", **WORSENS))
    hashes, metrics = outcome(events)
    kept = only(events, "weights_kept").weights_kept
    losses = {e.validation.step: e.validation.val_loss for e in events if e.HasField("validation")}
    assert losses[kept.kept_step] == min(losses.values()) == kept.val_loss
    assert 0 < kept.kept_step < kept.step == max(losses) < events[0].started.total_steps
    assert kept.stopped_early
    assert sorted(losses)[-2:] == [s for s in sorted(losses) if s > kept.kept_step][:2]
    assert (metrics["steps"], metrics["kept_step"]) == (kept.step, kept.kept_step)
    assert metrics["val_loss"] == pytest.approx(kept.val_loss)
    # The very weights that a run of just these steps ends with.
    checkpoints = tmp_path / "straight" / "checkpoints"
    [folder] = checkpoints.glob("kept-*")
    assert digest(folder / "adapters.safetensors").sha256 == hashes["adapters.safetensors"]

    # Killed behind the weights to keep, before a checkpoint knows of them, and at the very end.
    killed = spawn_worker(folder="killed", **WORSENS)
    next(e for e in killed.events() if e.validation.step == kept.kept_step)
    kill(killed)
    killed = spawn_worker(folder="killed", **WORSENS)
    until(killed, "weights_kept")
    kill(killed)
    events = end(spawn_worker(folder="killed", **WORSENS))
    assert outcome(events) == (hashes, metrics)
    assert step_numbers(events) == []
    assert only(events, "weights_kept").weights_kept == kept


def test_early_stopping_without_a_held_out_row_is_refused(spawn_worker: Spawn) -> None:
    events = end(spawn_worker(early_stop_patience=1, validation_fraction=1e-6))
    assert "early_stop_patience needs held-out rows" in events[-1].failed.message


@pytest.fixture
def sensor(tmp_path: Path) -> Path:
    path = tmp_path / "celsius"
    path.write_text("99")
    return path


def policy(sensor: Path, longest: float = 600) -> pb.CooldownPolicy:
    return pb.CooldownPolicy(
        sensor_file=str(sensor), celsius=90, poll_seconds=0.05, longest_seconds=longest
    )


def test_a_pause_ends_when_it_is_cool_and_changes_no_byte(
    spawn_worker: Spawn, sensor: Path
) -> None:
    plain = outcome(end(spawn_worker(folder="plain")))
    child = spawn_worker(folder="paused", cooldown=policy(sensor))
    began = until(child, "cooldown").cooldown.began
    assert (began.step, began.celsius) == (5, 99)
    sensor.write_text("89")
    events = end(child)
    ended = events[0].cooldown.ended
    assert (ended.step, ended.still_hot) == (5, False)
    assert ended.seconds > 0
    # Two epochs have one pause between them, and none behind the last.
    assert [e.WhichOneof("event") for e in events].count("cooldown") == 1
    assert outcome(events) == plain


def test_a_sensor_that_stays_hot_stops_no_job(spawn_worker: Spawn, sensor: Path) -> None:
    events = end(spawn_worker(epochs=3, cooldown=policy(sensor, longest=0.1)))
    pauses = [e.cooldown.ended for e in events if e.cooldown.HasField("ended")]
    assert [(p.step, p.still_hot) for p in pauses] == [(5, True), (10, True)]
    assert min(p.seconds for p in pauses) >= 0.1
    assert events[-1].HasField("finished")


def test_a_stop_ends_a_pause_and_the_job_goes_on_from_there(
    spawn_worker: Spawn, sensor: Path
) -> None:
    child = spawn_worker(checkpoint_every_steps=1000, cooldown=policy(sensor))
    until(child, "cooldown")
    child.stop(save=True)
    events = end(child)
    assert events[0].cooldown.ended.step == events[-1].stopped.step == 5
    sensor.unlink()
    events = end(spawn_worker(checkpoint_every_steps=1000, cooldown=policy(sensor)))
    assert events[0].started.resumed_from_step == 5
    assert events[-1].HasField("finished")
