"""Watchers that come and go while the trainer is killed under them see each event once."""

import asyncio
import http.client
import json
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from mlx_hub.client import AsyncHub
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1 import (
    training_event_pb2,
    training_job_pb2,
    training_log_pb2,
)
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port
from tests.fixtures.rows import ROWS, register
from tests.fixtures.trainer import FAST, watch
from tests.fixtures.trainer_process import Start, trainer_environment
from tests.gateway.conftest import Start as StartGateway

type Seen = list[tuple[int, int]]
CHANCE = random.Random(7)  # noqa: S311 (no secret)
ENDS = ("JOB_STATUS_COMPLETED", "JOB_STATUS_FAILED", "JOB_STATUS_CANCELLED")


async def over_grpc(stub: pb_grpc.TrainerServiceStub, job_id: int, chance: random.Random) -> Seen:
    """Watch over a connection that breaks off now and then."""
    seen: Seen = []
    while True:
        last = seen[-1][0] if seen else 0
        request = pb.WatchTrainingJobRequest(job_id=job_id, after_sequence=last)
        call = stub.WatchTrainingJob(request, wait_for_ready=True)
        try:
            for _ in range(chance.randint(1, 40)):
                frame = await call.read()
                if not isinstance(frame, training_event_pb2.TrainingEvent):
                    break
                if frame.sequence == last or frame.HasField("error"):
                    continue
                seen.append((frame.sequence, frame.step.step))
                name = training_job_pb2.JobStatus.Name(frame.job.status)
                if name in ENDS:
                    return seen
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            call.cancel()


def frames(port: int, job_id: int, after: int) -> Iterator[dict[str, Any]]:
    """Read SSE frames until the connection ends, however it does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"/training/jobs/{job_id}/events?after_sequence={after}")
        response = connection.getresponse()
        assert response.status in (200, 503)
        while response.status == 200 and (line := response.readline()):
            if line.startswith(b"data: ") and line.endswith(b"\n"):
                yield json.loads(line[6:])
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


def over_sse(port: int, job_id: int, chance: random.Random, stop: threading.Event) -> Seen:
    """Do the same through the gateway."""
    seen: Seen = []
    while not stop.wait(0.02):
        last, left = (seen[-1][0] if seen else 0), chance.randint(1, 40)
        for frame in frames(port, job_id, last):
            if frame["sequence"] != last and "error" not in frame:
                seen.append((frame["sequence"], frame.get("step", {}).get("step", 0)))
                if frame.get("job", {}).get("status") in ENDS:
                    return seen
            left -= 1
            if left < 0 or stop.is_set():
                break
    return seen


async def reached(stub: pb_grpc.TrainerServiceStub, job_id: int, step: int) -> None:
    """Wait until the log has this step or a later one: a killed trainer may have told no more.

    The call may go out on the connection of the trainer just killed, before that is noticed.
    """
    while True:
        try:
            async for frame in watch(stub, job_id):
                if frame.step.step >= step:
                    return
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        else:
            raise AssertionError("the job ended first")


async def read[I](items: AsyncIterator[I], begun: asyncio.Event) -> list[I]:
    """Read to the end. Before its first frame, a watch fails as soon as any other call."""
    found = []
    async for item in items:
        begun.set()
        found.append(item)
    return found


@dataclass(frozen=True)
class Told:
    """What each kind of watcher saw, and the lines of the job's log."""

    broken: Seen
    sse: Seen
    client: list[training_event_pb2.TrainingEvent]
    lines: list[training_log_pb2.TrainingLogLine]


async def watch_while(
    kill: Callable[[int], Awaitable[None]], port: int, gateway: int, job_id: int
) -> Told:
    """Watch in every way while the trainer is killed at two steps."""
    stop, watching, reading = threading.Event(), asyncio.Event(), asyncio.Event()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        AsyncHub(f"127.0.0.1:{gateway}") as client,
        asyncio.TaskGroup() as group,
    ):
        stub = pb_grpc.TrainerServiceStub(channel)
        broken = group.create_task(over_grpc(stub, job_id, CHANCE))
        sse = group.create_task(asyncio.to_thread(over_sse, gateway, job_id, CHANCE, stop))
        watched = group.create_task(read(client.jobs.watch(job_id, after_sequence=0), watching))
        said = group.create_task(read(client.jobs.tail(job_id, after_sequence=0), reading))
        try:
            await asyncio.gather(watching.wait(), reading.wait())
            for step in (10, 25):
                await kill(step)
            await asyncio.gather(broken, sse, watched, said)
        finally:
            stop.set()  # nothing else ends a thread
    return Told(broken.result(), sse.result(), watched.result(), said.result())


async def test_nothing_is_skipped_or_doubled_while_the_trainer_is_killed(
    hub: RunningRegistry, start: Start, start_gateway: StartGateway
) -> None:
    port = free_port()
    environment = trainer_environment(hub.settings.database_url, hub.port, port)
    model, dataset = await hub.model(), await register(hub, "rows", ROWS)
    trainers = [start(**environment)]
    ports = {"registry": hub.port, "trainer": port, "inference": free_port()}
    gateway = await asyncio.to_thread(start_gateway, ports)
    recipe = {**FAST, "epochs": 12, "max_attempts": 10}
    request = CreateTrainingJobRequest(model_id=model.id, dataset_id=dataset, **recipe)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.TrainerServiceStub(channel)
        job = await stub.CreateTrainingJob(request, wait_for_ready=True)

        async def kill(step: int) -> None:
            await reached(stub, job.id, step)
            trainers[-1].kill()
            trainers[-1].wait()
            trainers.append(start(**environment))

        await reached(stub, job.id, 3)
        told = await watch_while(kill, port, gateway, job.id)
    query = "SELECT sequence, kind, payload FROM trainer.job_events ORDER BY sequence"
    rows: list[Any] = list(hub.sql(query))
    log = [(row[0], row[2]["step"] if row[1] == "step" else 0) for row in rows]
    assert [sequence for sequence, _ in log] == list(range(1, len(log) + 1))
    assert told.broken == told.sse == log
    _, *events = told.client
    assert [(event.sequence, event.step.step) for event in events] == log
    assert events[-1].job.status == training_job_pb2.JOB_STATUS_COMPLETED
    lines = told.lines
    assert [line.sequence for line in lines] == list(range(1, len(lines) + 1))
    assert [line.attempt for line in lines] == sorted(line.attempt for line in lines)
    assert {line.attempt for line in lines} == {1, 2, 3}
    assert [line.message for line in lines].count("attempt 2 begins") == 1
