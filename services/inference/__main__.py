"""The inference service's process: builds its objects by hand and serves."""

import asyncio
import sys

from mlx_hub.inference.v1 import inference_service_pb2_grpc
from mlx_hub.openai.v1 import openai_service_pb2_grpc

from services.chassis.channels import connect
from services.chassis.server import HubServer, prepare, serve
from services.chassis.settings import at, load
from services.inference import engine_metrics
from services.inference.answering import Answering
from services.inference.caching import PrefixCaches
from services.inference.catalogue import Catalogue
from services.inference.drafts import DraftModels
from services.inference.engines import Engines
from services.inference.journal import Journal
from services.inference.launching import Launcher
from services.inference.openai import OpenAIServicer
from services.inference.residency import Residency
from services.inference.scheduler import Scheduler
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings


class Inference:
    """Every object of the process, tied together."""

    def __init__(self, settings: InferenceSettings) -> None:
        """Build all; engines start when they are asked for."""
        self.server = HubServer("inference", settings)
        self.channel = connect(at(settings.registry_host, settings.registry_port))
        engine_metrics.ROW_SLOTS.set(settings.max_rows)
        engine_metrics.ADAPTER_SLOTS.set(settings.adapter_slots)
        catalogue = Catalogue(self.channel, settings.storage_archive_path, settings.attention)
        launcher = Launcher(settings, engine_metrics.ENGINES.told)
        self.drafts = DraftModels(settings.draft_models, catalogue.base_models)
        room = launcher.room(self.drafts.outfit)
        self.residency = Residency(
            launcher.start, room, self.server.set_serving, engine_metrics.ended
        )
        self.scheduler = Scheduler(self.residency.use, settings.max_rows, settings.queue_limit)
        self._tasks: list[asyncio.Task[None]] = []
        self.journal = Journal(settings.home / "generations.db", settings.generations_kept)
        caches = PrefixCaches(launcher.running, catalogue, settings)
        self.engines = Engines(catalogue, self.residency, launcher.quarantine, self.drafts)
        answering = Answering(
            catalogue,
            self.scheduler,
            self.journal,
            loading=self.residency.loading,
            check=launcher.quarantine.check,
            drafting=settings.drafting,
        )
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(
            InferenceServicer(answering, self.journal, caches, self.engines), self.server.grpc
        )
        openai_service_pb2_grpc.add_OpenAIServiceServicer_to_server(
            OpenAIServicer(answering, catalogue), self.server.grpc
        )

    async def start(self) -> None:
        """Watch for idle engines, stalls, and training jobs that wait for memory.

        And for the registry, which knows whether draft models are there.
        """
        work = (self.residency.keep_house(self.engines.measure), self.drafts.warn())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def drain(self) -> None:
        """Take nothing new; what runs goes on."""
        await self.scheduler.stop()
        await self.residency.drain()

    async def close(self) -> None:
        """Leave no engine behind."""
        for task in self._tasks:
            task.cancel()
        await self.residency.close()
        await self.journal.close()
        await self.channel.close()


async def run(settings: InferenceSettings) -> int:
    """Serve until told to stop; give the exit code."""
    inference = Inference(settings)
    try:
        return await serve(inference.server, on_start=[inference.start], on_stop=[inference.drain])
    finally:
        await inference.close()


def main() -> int:
    """Read the settings and serve."""
    settings = load(InferenceSettings)
    prepare("inference", settings)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
