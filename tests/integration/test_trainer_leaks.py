"""Jobs in a row through one trainer, ended in every way, and nothing of them left in it.

bench/soak.py is the same for memory, through a whole stack.
"""

import asyncio
import gc
import tempfile
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from tests.fixtures.holding import workers
from tests.fixtures.trainer import OpenTrainer, RunningTrainer

ROUNDS = 2
SAMPLES = 20
LONG = {"epochs": 200, "max_attempts": 1}


@dataclass(frozen=True)
class Held:
    """What this process holds."""

    descriptors: int
    tasks: int
    threads: int
    children: int
    files: frozenset[str]
    folders: int

    def least(self, other: "Held") -> "Held":
        """Leave out what one of two moments did not have: work in progress."""
        return Held(
            min(self.descriptors, other.descriptors),
            min(self.tasks, other.tasks),
            min(self.threads, other.threads),
            min(self.children, other.children),
            self.files & other.files,
            min(self.folders, other.folders),
        )


def counted(temporary: Path, jobs: Path) -> Held:
    gc.collect()
    process = psutil.Process()
    return Held(
        process.num_fds(),
        len(asyncio.all_tasks()),
        threading.active_count(),
        len(process.children(recursive=True)),
        frozenset(str(path) for path in temporary.rglob("*")),
        sum(1 for _ in jobs.glob("*")),
    )


async def held(trainer: RunningTrainer, temporary: Path) -> Held:
    """Count what stays: over some moments, without idle connections and the reporting child."""
    await trainer.hub.registry.reports._reporter.close()
    jobs = trainer.hub.settings.storage_active_path / "jobs"
    found: Held | None = None
    for _ in range(SAMPLES):
        for engine in (trainer.trainer.engine, trainer.hub.registry.engine):
            await engine.dispose()
        now = counted(temporary, jobs)
        found = now if found is None else now.least(found)
        await asyncio.sleep(0.05)
    assert found is not None
    return found


async def begun(trainer: RunningTrainer) -> int:
    """Start a long job; give its id once it has done a step."""
    job = await trainer.create(**LONG)
    frames = trainer.watch(job.id)
    async for frame in frames:
        if frame.HasField("step"):
            break
    frames.cancel()
    return job.id


async def complete(trainer: RunningTrainer) -> None:
    job, _ = await trainer.end((await trainer.create(epochs=1)).id)
    assert job.status == job_pb.JOB_STATUS_COMPLETED


async def cancel(trainer: RunningTrainer) -> None:
    job_id = await begun(trainer)
    await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job_id))
    job, _ = await trainer.end(job_id)
    assert job.status == job_pb.JOB_STATUS_CANCELLED


async def kill(trainer: RunningTrainer) -> None:
    job_id = await begun(trainer)
    for child in workers():
        child.kill()
    job, _ = await trainer.end(job_id)
    assert job.status == job_pb.JOB_STATUS_FAILED


async def _few_threads() -> None:
    """Let the loop have two threads from the start, and not as many as it happens to need."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    both = threading.Barrier(2)
    await asyncio.gather(*(asyncio.to_thread(both.wait) for _ in range(2)))


@pytest.mark.timeout(600)
async def test_jobs_leave_nothing_in_the_process(
    open_trainer: OpenTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("services.trainer.workspace.KEPT_UNFINISHED", 1)
    await _few_threads()
    ways: tuple[Callable[[RunningTrainer], Awaitable[None]], ...] = (complete, cancel, kill)
    async with open_trainer() as trainer:
        rounds: list[Held] = []
        for _ in range(ROUNDS):
            for way in ways:
                await way(trainer)
            await trainer.trainer.supervisor._sweep()
            rounds.append(await held(trainer, temporary))

        # The first round opens what stays open.
        assert rounds[1] == rounds[0]
    logs = (trainer.hub.settings.home / "logs" / "jobs").glob("*/attempt-*")
    lines = [line for log in logs for line in log.read_text().splitlines()]
    assert lines
    assert [line for line in lines if "arning" in line or "Traceback" in line] == []
