"""A cancel takes effect within one step wherever the job is, and leaves no version."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlx_hub.internal.v1 import worker_pb2 as worker_pb
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from services.chassis.errors import FailedPrecondition
from services.chassis.status import from_rpc_error
from services.runtime.model import prepare
from services.trainer.worker.failures import Stopped
from services.trainer.worker.run import run
from tests.fixtures.commands import Command
from tests.fixtures.holding import workers
from tests.fixtures.trainer import OpenTrainer, RunningTrainer, until_step

# Where a worker asks whether it may go on, by the function that asks.
PHASES = {
    "loading": "_prepare",
    "tokenising": "<lambda>",
    "validation": "score",
    "step": "_accumulate",
}
# It loads once; the others ask again and again.
QUESTIONS = [("loading", 1), *((phase, n) for phase in list(PHASES)[1:] for n in (1, 2))]


class Stopper:
    """A supervisor that asks to stop at the n-th question of a phase."""

    saves_checkpoint = False

    def __init__(self, asker: str, number: int) -> None:
        self.asker = asker
        self.left = number
        self.steps = 0

    def poll(self, step: int) -> None:
        if sys._getframe(1).f_code.co_name == self.asker:
            self.left -= 1
            if not self.left:
                raise Stopped(step)

    def step(self, *_: Any) -> None:
        self.steps += 1

    def started(self, *_: Any) -> None:
        """Go on."""

    validation = checkpoint = started


@pytest.mark.parametrize(("phase", "number"), QUESTIONS)
def test_a_worker_stops_where_it_is_asked_to(
    worker_command: Command, tmp_path: Path, phase: str, number: int
) -> None:
    command: worker_pb.TrainCommand = worker_command(epochs=1, checkpoint_every_steps=1000)
    stopper: Any = Stopper(PHASES[phase], number)
    with pytest.raises(Stopped) as caught:
        run(stopper, command, prepare())
    assert stopper.steps == caught.value.step == (number - 1 if phase == "step" else 0)
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["checkpoints"]
    assert not list((tmp_path / "job" / "checkpoints").iterdir())


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer() as running:
        yield running


async def cancel(trainer: RunningTrainer, job_id: int) -> None:
    await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job_id))


def nothing_published(trainer: RunningTrainer) -> None:
    """What lies in the job's folder stays for a retry, as long as the workspace says."""
    assert trainer.hub.sql("SELECT count(*) FROM registry.versions") == [(0,)]
    assert not list((trainer.hub.archive / "versions").iterdir())


@pytest.mark.parametrize("step", [0, 2], ids=["before it could answer", "in a step"])
async def test_a_worker_that_does_not_answer_is_ended(trainer: RunningTrainer, step: int) -> None:
    """As while a large model is loading: the child never gets to its next question."""
    job = await trainer.create(epochs=1000)
    if step:
        await until_step(trainer.stub, job.id, step)
    while not (found := workers()):  # noqa: ASYNC110  # nor for this
        await asyncio.sleep(0.01)
    found[0].suspend()
    await cancel(trainer, job.id)
    ended, _ = await trainer.end(job.id)
    assert ended.status == job_pb.JOB_STATUS_CANCELLED
    assert not workers()
    nothing_published(trainer)


async def test_a_cancel_before_the_publication_wins(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter lies there already."""
    queue = trainer.trainer.queue
    publish = queue.publish

    async def late(token: Any) -> Any:
        await queue.cancel(token.job_id)
        return await publish(token)

    monkeypatch.setattr(queue, "publish", late)
    ended, _ = await trainer.end((await trainer.create(epochs=1)).id)
    assert ended.status == job_pb.JOB_STATUS_CANCELLED
    nothing_published(trainer)


async def test_a_cancel_while_publishing_is_refused(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, refused = trainer.trainer.registry, []
    publish = registry.publish

    async def asked(request: Any) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cancel(trainer, request.training.job_id)
        refused.append(from_rpc_error(caught.value, "trainer"))
        return await publish(request)

    monkeypatch.setattr(registry, "publish", asked)
    ended, _ = await trainer.end((await trainer.create(epochs=1)).id)
    assert ended.status == job_pb.JOB_STATUS_COMPLETED
    [error] = refused
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata["status"]) == ("JOB_STATE", "publishing")
