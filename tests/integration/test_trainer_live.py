"""What a run says of itself while it goes on: an interrupted one says what a straight one would."""

import signal
from typing import Any

import pytest
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_event_pb2 as event_pb

from services.trainer.worker.loop import SMOOTHING
from tests.fixtures.trainer import OpenTrainer
from tests.fixtures.worker import Child, Spawn


def steps_of(child: Child) -> list[event_pb.TrainingStep]:
    return [event.step.step for event in child.events() if event.HasField("step")]


def timeless(step: event_pb.TrainingStep) -> tuple[Any, ...]:
    """Give what does not depend on the machine's mood."""
    return step.epoch, step.loss, step.smoothed_loss, step.grad_norm, step.trained_tokens


def test_a_resumed_run_reports_what_an_uninterrupted_one_would(spawn_worker: Spawn) -> None:
    straight = {step.step: step for step in steps_of(spawn_worker(folder="straight"))}
    assert not straight[1].HasField("eta_seconds")
    assert all(straight[n].eta_seconds > 0 for n in range(2, 10))
    mean = 0.0
    for number, step in straight.items():
        mean += SMOOTHING * (step.loss - mean)
        assert step.smoothed_loss == pytest.approx(mean / (1 - (1 - SMOOTHING) ** number))
        assert step.grad_norm > 0
    assert straight[1].smoothed_loss == pytest.approx(straight[1].loss)

    killed = spawn_worker(folder="killed", hold=5)
    killed.until_step(5)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    resumed = spawn_worker(folder="killed")
    started = next(resumed.events()).started
    before = straight[started.resumed_from_step]
    assert (started.progress.step, started.progress.total_steps) == (before.step, 10)
    assert started.progress.smoothed_loss == before.smoothed_loss
    assert started.progress.trained_tokens == before.trained_tokens
    assert started.progress.eta_seconds > 0
    rest = steps_of(resumed)
    assert rest[0].eta_seconds > 0
    assert [timeless(step) for step in rest] == [timeless(straight[step.step]) for step in rest]


async def test_a_job_shows_its_last_step_and_how_long_it_has_to_go(
    open_trainer: OpenTrainer,
) -> None:
    async with open_trainer() as trainer:
        job = await trainer.reach(3, epochs=1000, checkpoint_every_steps=2)
        running = await trainer.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=job.id))
        assert running.progress.eta_seconds > 0
        await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job.id))
        ended, events = await trainer.end(job.id)
        last = [event.step for event in events if event.HasField("step")][-1]
        told = ended.progress
        assert not told.HasField("eta_seconds"), "it has nothing to go"
        shown = (told.smoothed_loss, told.grad_norm, told.trained_tokens)
        assert shown == (last.smoothed_loss, last.grad_norm, last.trained_tokens)
