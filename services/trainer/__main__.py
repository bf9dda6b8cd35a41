"""The trainer's process: builds its objects by hand and serves."""

import asyncio
import sys
from datetime import timedelta

from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as pb_grpc

from migrations import HEAD
from services.chassis import database
from services.chassis.channels import connect
from services.chassis.leases import Ledger
from services.chassis.server import HubServer, prepare, serve
from services.chassis.settings import load
from services.trainer import cooldown
from services.trainer.attempt import Attempt
from services.trainer.domain import TrainingJob
from services.trainer.forwarder import Forwarder
from services.trainer.forwards import Forwards
from services.trainer.joblog.follow import LogReader
from services.trainer.measuring import measure
from services.trainer.planner import Planner
from services.trainer.presence import Presence
from services.trainer.progress import Watch
from services.trainer.queue import Bell, JobQueue
from services.trainer.registry import Registry
from services.trainer.replaying import ReplayAttempt
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings
from services.trainer.store import JobStore
from services.trainer.supervisor import Supervisor
from services.trainer.workspace import Workspace

ROLE = "mlx_hub_trainer"


class Trainer:
    """Every object of the process, tied together."""

    def __init__(self, settings: TrainerSettings) -> None:
        """Build all; nothing is opened yet."""
        self.settings = settings
        self.engine = database.create_engine(settings.database_url, ROLE)
        self.channel = connect(settings.registry_port)
        self.store = JobStore(self.engine)
        self.queue = JobQueue(
            self.engine,
            timedelta(seconds=settings.lease_seconds),
            timedelta(seconds=settings.retry_seconds),
        )
        self.bell = Bell(self.engine, settings.poll_seconds)
        self.registry = Registry(self.channel, settings.storage_archive_path)
        ledger = Ledger.of(settings)
        self.planner = Planner(self.registry, ledger, settings.memory_wait_seconds)
        self.workspace = Workspace(settings.storage_active_path, settings.home / "logs")
        forwards = Forwards(self.engine)
        self.forwarder = Forwarder(self.store, forwards, self.registry, self.bell)
        self.server = HubServer("trainer", settings, database.translate)
        self.watch = Watch(self.store, self.bell, self.server.errors.translate)
        self.logs = LogReader(
            self.store, self.bell, self.workspace.logs, self.server.errors.translate
        )
        self.supervisor = Supervisor(
            queue=self.queue,
            store=self.store,
            bell=self.bell,
            workspace=self.workspace,
            attempts=self._attempt,
            presence=Presence(settings.storage_active_path / "trainers", settings.node),
            node=settings.node,
        )
        servicer = TrainerServicer(
            self.store, self.queue, self.registry, self.planner, self.watch, self.logs
        )
        pb_grpc.add_TrainerServiceServicer_to_server(servicer, self.server.grpc)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Refuse a wrong revision, then take up work."""
        await database.check_revision(self.engine, HEAD)
        self._tasks = [
            asyncio.create_task(self.bell.listen()),
            asyncio.create_task(self.forwarder.run()),
            asyncio.create_task(measure(self.queue)),
        ]
        await self.supervisor.start()

    async def close(self) -> None:
        """Leave no task and no connection behind."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channel.close()
        await self.engine.dispose()

    def _attempt(self, job: TrainingJob) -> Attempt:
        kind = Attempt if job.replay_of is None else ReplayAttempt
        return kind(
            job,
            queue=self.queue,
            store=self.store,
            bell=self.bell,
            registry=self.registry,
            planner=self.planner,
            workspace=self.workspace,
            stop_seconds=self.settings.worker_stop_seconds,
            cooldown=cooldown.policy(self.settings),
        )


async def run(settings: TrainerSettings) -> int:
    """Serve until told to stop; give the exit code."""
    trainer = Trainer(settings)
    stops = [trainer.watch.close, trainer.logs.close, trainer.supervisor.stop]
    try:
        return await serve(trainer.server, on_start=[trainer.start], on_stop=stops)
    finally:
        await trainer.close()


def main() -> int:
    """Read the settings and serve."""
    settings = load(TrainerSettings)
    prepare("trainer", settings)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
