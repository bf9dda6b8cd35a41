"""A trainer or child that is stopped, taken for dead, and wakes up: it changes nothing any more."""

import asyncio
import hashlib
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import psycopg
import pytest
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.recipe import DEFAULTS
from services.trainer.workspace import Workspace
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port
from tests.fixtures.rows import ROWS, register
from tests.fixtures.trainer import FAST, until_step, watch
from tests.fixtures.trainer_process import Start, trainer_environment, worker_of
from tests.fixtures.worker import Spawn

type Words = tuple[str, ...]
type Stop = Callable[[RunningRegistry, subprocess.Popen[str]], Awaitable[Words]]

FENCED = "attempt 1 no longer holds job"

# What a trainer of this database is in the middle of.
OPEN = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database()
  AND application_name = 'mlx_hub_trainer' AND state <> 'idle'
"""


async def stop_between_transactions(hub: RunningRegistry, first: subprocess.Popen[str]) -> Words:
    """Stop a trainer that has nothing under way; only the fence can refuse it when it wakes."""
    first.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.1)  # what was sent arrives
    while hub.sql(OPEN):  # Postgres tells nobody when a session falls idle
        first.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
    return (FENCED,)


async def stop_in_a_transaction(hub: RunningRegistry, first: subprocess.Popen[str]) -> Words:
    """Stop a trainer that has the job's row locked, until Postgres ends such sessions.

    Postgres does so after idle_in_transaction_session_timeout; here it is done at once. Its
    heartbeat then finds no session and its lease run out, or its recorder meets the fence first.
    """
    with psycopg.connect(hub.settings.database_url.replace("+psycopg", "")) as connection:
        connection.execute("SELECT FROM trainer.jobs FOR UPDATE")
        while not hub.sql(f"{OPEN} AND wait_event_type = 'Lock'"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
    ended = 0
    while (held := hub.sql(OPEN)) or not ended:
        for (pid,) in held:
            hub.sql("SELECT pg_terminate_backend(%s)", pid)
        ended += len(held)
        await asyncio.sleep(0.1)
    return FENCED, "the database does not answer"


@pytest.mark.parametrize("stop", [stop_between_transactions, stop_in_a_transaction])
async def test_a_trainer_that_wakes_after_the_takeover_is_refused(
    hub: RunningRegistry, start: Start, stop: Stop
) -> None:
    """Its child trains on meanwhile, and its last reports wait in the socket."""
    ports = free_port(), free_port()
    old, new = (trainer_environment(hub.settings.database_url, hub.port, port) for port in ports)
    model, dataset = await hub.model(), await register(hub, "rows", ROWS)
    request = CreateTrainingJobRequest(
        model_id=model.id, dataset_id=dataset, **{**FAST, "epochs": 30}
    )
    first = start(**old)
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as one,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports[1]}") as other,
    ):
        stub = pb_grpc.TrainerServiceStub(other)
        job = await pb_grpc.TrainerServiceStub(one).CreateTrainingJob(request, wait_for_ready=True)
        await until_step(pb_grpc.TrainerServiceStub(one), job.id, 3)
        child = worker_of(first)
        refusals = await stop(hub, first)
        start(**new)
        ended = await outcome(stub, job.id)
        assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_COMPLETED, 2)
        before = everything(hub)

        first.send_signal(signal.SIGCONT)
        child.wait(60)
        # It is alive and well, and takes the next job only in its turn.
        again = await pb_grpc.TrainerServiceStub(one).CreateTrainingJob(request)
        await outcome(stub, again.id)
        assert everything(hub, job.id) == before
        await folders_swept(hub)
    first.terminate()
    lines = first.communicate(timeout=60)[1].splitlines()
    [told] = [line for line in lines if "is given up" in line]
    assert any(words in told for words in refusals), told
    versions = hub.sql("SELECT job_id, attempt FROM registry.versions ORDER BY id")
    assert versions[0] == (job.id, 2)
    assert [row[0] for row in versions] == [job.id, again.id]


async def outcome(stub: pb_grpc.TrainerServiceStub, job_id: int) -> job_pb.TrainingJob:
    ended = job_pb.TrainingJob()
    async for frame in watch(stub, job_id, after=None):
        ended = frame.job
    return ended


async def folders_swept(hub: RunningRegistry) -> None:
    """Wait for the look at the queue that follows a job, which sweeps its folders."""
    jobs = hub.settings.storage_active_path / "jobs"
    while list(jobs.iterdir()):  # noqa: ASYNC110  # nothing tells of a sweep
        await asyncio.sleep(0.05)


def everything(hub: RunningRegistry, job_id: int = 1) -> list[object]:
    """Give all that is stored of a job."""
    tables = {"trainer.jobs": "id", "trainer.job_events": "job_id", "registry.versions": "job_id"}
    return [
        hub.sql(f"SELECT * FROM {table} WHERE {key} = %s ORDER BY 1, 2", job_id)  # noqa: S608
        for table, key in tables.items()
    ]


def claimed(attempt: int) -> TrainingJob:
    now = "2030-01-01"
    return TrainingJob(1, JobStatus.RUNNING, 1, 1, DEFAULTS, 3, now, attempt=attempt)  # type: ignore[arg-type]


def files_in(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_child_that_wakes_after_the_takeover_touches_no_checkpoint(
    spawn_worker: Spawn, tmp_path: Path
) -> None:
    """The newer attempt has taken the folder away under it: it can't add, replace or prune."""
    workspace = Workspace(tmp_path, tmp_path)
    old_home = "jobs/1"
    (tmp_path / old_home).mkdir(parents=True)
    workspace.prepare(claimed(1))
    places = {"checkpoint_path": str(workspace.checkpoints(claimed(1)))}
    old = spawn_worker(folder=old_home, epochs=6, **places)
    old.until_step(5)
    old.process.send_signal(signal.SIGSTOP)

    workspace.prepare(claimed(2))
    places = {"checkpoint_path": str(workspace.checkpoints(claimed(2)))}
    new = spawn_worker(folder=old_home, epochs=6, output="attempt-2", **places)
    resumed = next(new.events()).started.resumed_from_step
    assert resumed >= 4
    *_, last = new.events()
    assert last.HasField("finished")
    before = files_in(tmp_path / "jobs")

    old.process.send_signal(signal.SIGCONT)
    kinds = [event.WhichOneof("event") for event in old.events()]
    assert not {"finished", "failed"} & set(kinds)
    assert old.process.wait(60) == 1
    assert files_in(tmp_path / "jobs") == before
    names = sorted(path.name for path in (tmp_path / "jobs" / "1").iterdir())
    assert names == ["attempt-2", "checkpoints-2"]


def test_an_older_attempt_takes_nothing_from_a_newer_one(tmp_path: Path) -> None:
    """A trainer may be stopped between its claim and its first look at the disk."""
    workspace = Workspace(tmp_path, tmp_path)
    workspace.prepare(claimed(2))
    kept = workspace.checkpoints(claimed(2)) / "step-00000002"
    kept.mkdir()
    workspace.prepare(claimed(1))
    assert kept.is_dir()
    workspace.prepare(claimed(3))
    assert not kept.exists()
    assert (workspace.checkpoints(claimed(3)) / "step-00000002").is_dir()
    assert sorted(p.name for p in (tmp_path / "jobs" / "1").iterdir()) == ["checkpoints-3"]


def test_a_sweep_leaves_what_came_after_its_look(tmp_path: Path) -> None:
    """A trainer may be stopped between the statuses it read and the folders it removes."""
    workspace = Workspace(tmp_path, tmp_path)
    looked = workspace.job_ids()
    workspace.prepare(claimed(1))
    workspace.set_aside(looked, {})
    workspace.sweep()
    assert workspace.job_ids() == [1]
