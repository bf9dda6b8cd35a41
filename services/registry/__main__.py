"""The registry's process: builds its objects by hand and serves."""

import asyncio
import sys

from mlx_hub.registry.v1 import dataset_service_pb2_grpc, registry_service_pb2_grpc

from migrations import HEAD
from services.chassis import database
from services.chassis.server import HubServer, prepare, serve
from services.chassis.settings import load
from services.registry.artifacts import Artifacts
from services.registry.datasets import DatasetFiles, Limits
from services.registry.mlflow_sync import Mirror
from services.registry.publisher import DatasetIntake, Publisher
from services.registry.reconciler import Reconciler
from services.registry.reports import Reports
from services.registry.resolution import Resolver
from services.registry.servicer.datasets import DatasetServicer
from services.registry.servicer.models import RegistryServicer
from services.registry.settings import RegistrySettings
from services.registry.store import session
from services.registry.store.aliases import AliasStore
from services.registry.store.base_models import BaseModelStore
from services.registry.store.datasets import DatasetStore
from services.registry.store.models import ModelStore
from services.registry.store.outbox import Outbox
from services.registry.store.reports import ReportStore
from services.registry.store.versions import VersionStore

ROLE = "mlx_hub_registry"


class Registry:
    """Every object of the process, tied together."""

    def __init__(self, settings: RegistrySettings) -> None:
        """Build all; nothing is opened yet."""
        self.engine = database.create_engine(settings.database_url, ROLE)
        rows = session.sessions(self.engine)
        models = ModelStore(rows, mirrored=bool(settings.mlflow_tracking_uri))
        bases, datasets, versions = BaseModelStore(rows), DatasetStore(rows), VersionStore(rows)
        artifacts = Artifacts(settings.storage_active_path, settings.storage_archive_path)
        files = DatasetFiles(settings.dataset_root, artifacts, _limits(settings))
        grace_s = settings.orphan_grace_seconds
        self.reconciler = Reconciler(bases, datasets, versions, artifacts, grace_s)
        self.reports = Reports(bases, ReportStore(rows), artifacts)
        self.mirror = Mirror(Outbox(rows, models)) if settings.mlflow_tracking_uri else None
        self.server = HubServer("registry", settings, database.translate, session.translate)
        servicer = RegistryServicer(
            models=models,
            bases=bases,
            versions=versions,
            aliases=AliasStore(rows),
            publisher=Publisher(models, bases, datasets, versions, artifacts),
            resolver=Resolver(models, bases, versions, artifacts),
        )
        registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(servicer, self.server.grpc)
        dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(
            DatasetServicer(datasets, DatasetIntake(datasets, files), self.reports),
            self.server.grpc,
        )

    async def start(self) -> None:
        """Refuse a wrong revision, settle what a crash left, begin to mirror."""
        await database.check_revision(self.engine, HEAD)
        await self.reconciler.run()
        if self.mirror:
            await self.mirror.start()

    async def close(self) -> None:
        """Leave no process and no connection behind; a second time does nothing."""
        await self.reports.close()
        if self.mirror:
            await self.mirror.stop()
        await self.engine.dispose()


async def run(settings: RegistrySettings) -> int:
    """Serve until told to stop; give the exit code."""
    registry = Registry(settings)
    try:
        return await serve(registry.server, on_start=[registry.start])
    finally:
        await registry.close()


def _limits(settings: RegistrySettings) -> Limits:
    return Limits(
        file_bytes=settings.dataset_max_bytes,
        rows=settings.dataset_max_rows,
        line_bytes=settings.dataset_max_line_bytes,
    )


def main() -> int:
    """Read the settings and serve."""
    settings = load(RegistrySettings)
    prepare("registry", settings)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
