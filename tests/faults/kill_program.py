"""Jobs that end the same however often their child, their trainer or the registry is killed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest
from psycopg.rows import dict_row
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay

from tests.fixtures.registry_process import free_port

CHILD, TRAINER, REGISTRY = "child", "trainer", "registry"
VICTIMS = (CHILD, TRAINER, REGISTRY)
# A job stands ten lost attempts; one that lost this many is spared.
SPARED = 8
RECIPE: dict[str, Any] = {
    "learning_rate": 1e-3, "epochs": 5, "checkpoint_every_steps": 2, "max_attempts": 10,
    "lora_dropout": 0.2, "lora_rank": 4,
    "checkpoints_kept": 4,
}  # fmt: skip
TERMINAL = ("completed", "failed", "cancelled")


@dataclass
class Machine:
    """One hub's processes, of which each may be killed and started again."""

    home: Path
    database_url: str
    random: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Choose the ports once: whoever starts again is found again."""
        names = ("REGISTRY", "REGISTRY_METRICS", "TRAINER", "TRAINER_METRICS")
        self.ports = {name: free_port() for name in names}
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "MLX_HUB_HOME": str(self.home),
            "MLX_HUB_LEASE_SECONDS": "5",
            "MLX_HUB_RETRY_SECONDS": "0.1",
            "MLX_HUB_POLL_SECONDS": "0.2",
            "MLX_HUB_DRAIN_SECONDS": "0",
            "MLX_HUB_SCRUB_BYTES_PER_SECOND": "0",
            **{f"MLX_HUB_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    def start(self, service: str, **settings: str) -> None:
        with (self.home / f"{service}.log").open("ab") as log:
            argv = [sys.executable, "-m", f"services.{service}"]
            self._running[service] = subprocess.Popen(
                argv, env={**self.environment, **settings}, stdout=log, stderr=log
            )

    async def again(self, service: str, **settings: str) -> None:
        """End a service as a shutdown does, and start it."""
        self._running[service].terminate()
        await asyncio.to_thread(self._running[service].wait)
        self.start(service, **settings)

    async def serving(self, service: str) -> None:
        port = self.ports[service.upper()]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while True:
                reply = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait()

    async def kill(self, victim: str) -> bool:
        """Kill it, wherever it is, and start it again; tell whether there was one."""
        if victim != CHILD:
            self._running[victim].kill()
            self._running[victim].wait()
            self.start(victim)
        else:
            children = psutil.Process(self._running[TRAINER].pid).children()
            workers = [c for c in children if "services.trainer.worker" in _words(c)]
            if not workers:
                return False
            with suppress(psutil.NoSuchProcess):
                workers[0].send_signal(signal.SIGKILL)
        self.killed[victim] += 1
        return True

    async def kill_often(self, times: int) -> None:
        """Kill in turn, after a while that is often none and sometimes long."""
        turn = 0
        while self.killed.total() < times and self.unfinished():
            await asyncio.sleep(self.random.choice([0.02, 0.3, 1.5]) * self.random.random())
            victim = VICTIMS[turn % len(VICTIMS)]
            if victim != REGISTRY and self._spared():
                victim = REGISTRY
            turn += await self.kill(victim)

    def rows(self, query: str) -> list[dict[str, Any]]:
        url = self.database_url.replace("+psycopg", "")
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    def unfinished(self) -> bool:
        query = "SELECT 1 AS one FROM trainer.jobs WHERE status IN ('queued', 'running')"
        return bool(self.rows(query))

    def _spared(self) -> bool:
        query = "SELECT failed_attempts FROM trainer.jobs WHERE status = 'running'"
        return any(row["failed_attempts"] >= SPARED for row in self.rows(query))

    async def queue(self, model_id: int, dataset_id: int, count: int) -> None:
        """Queue jobs of two recipes in turn."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.ports['TRAINER']}") as channel:
            stub = pb_grpc.TrainerServiceStub(channel)
            for number in range(count):
                request = CreateTrainingJobRequest(
                    model_id=model_id, dataset_id=dataset_id, seed=number % 2, **RECIPE
                )
                # As a client would: the registry may still be starting.
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(grpc.aio.AioRpcError), stop=stop_after_delay(120)
                ):
                    with attempt:
                        await stub.CreateTrainingJob(request, wait_for_ready=True)

    async def settled(self) -> None:
        """Wait until every job has ended; one that is stuck runs into the test's time limit."""
        while self.unfinished():  # noqa: ASYNC110  # other processes work on it
            await asyncio.sleep(0.2)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def check(machine: Machine) -> str:
    """Look at every job, event, version and file; give the summary, or raise what is wrong."""
    jobs = machine.rows("SELECT * FROM trainer.jobs ORDER BY id")
    versions = machine.rows("SELECT * FROM registry.versions ORDER BY id")
    assert [j["status"] for j in jobs] == ["completed"] * len(jobs), [
        (j["id"], j["status"], j["error_message"]) for j in jobs
    ]
    assert sorted(v["job_id"] for v in versions) == [j["id"] for j in jobs]
    by_id = {v["id"]: v for v in versions}
    digests: dict[int, set[str]] = {}
    for job in jobs:
        assert by_id[job["version_id"]]["job_id"] == job["id"]
        digests.setdefault(job["seed"], set()).add(by_id[job["version_id"]]["checksum"])
        check_log(machine, job)
    assert all(len(found) == 1 for found in digests.values()), digests
    assert len(set.union(*digests.values())) == len(digests), "seeds that make no difference"
    active = machine.home / "artifacts" / "active"
    assert not list((active / "jobs").iterdir())
    stored = {p.name for p in (machine.home / "artifacts" / "archive" / "versions").iterdir()}
    assert stored == {Path(v["artifact_path"]).name for v in versions}
    kills = ", ".join(f"{name} {machine.killed[name]}" for name in VICTIMS)
    attempts = sum(job["attempt"] for job in jobs)
    return (
        f"{machine.killed.total()} kills ({kills}): {len(jobs)} jobs completed once in {attempts} "
        f"attempts, {len(versions)} versions; 0 lost, 0 stuck, 0 duplicated; "
        "digests as of those never killed"
    )


def check_log(machine: Machine, job: dict[str, Any]) -> None:
    """Its log has no gap, and the steps of its final path follow each other."""
    query = f"SELECT * FROM trainer.job_events WHERE job_id = {job['id']} ORDER BY sequence"  # noqa: S608
    events = machine.rows(query)
    assert [e["sequence"] for e in events] == list(range(1, job["last_sequence"] + 1))
    assert [e["attempt"] for e in events] == sorted(e["attempt"] for e in events)
    last: dict[int, int] = {}
    reached = 0
    for event in (e for e in events if e["kind"] == "step"):
        step, attempt = event["payload"]["step"], event["attempt"]
        # An attempt goes back to a checkpoint, never ahead of what was reported.
        assert step == last.get(attempt, step - 1) + 1
        assert step <= reached + 1, f"job {job['id']} jumps from {reached} to {step}"
        last[attempt] = reached = step
    assert reached == job["total_steps"] == job["step"]
    statuses = [e["payload"]["status"] for e in events if e["kind"] == "job"]
    assert [s for s in statuses if s in TERMINAL] == ["completed"] == statuses[-1:]
