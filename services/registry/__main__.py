"""The registry's process: builds its objects by hand and serves."""

import asyncio
import sys

from mlx_hub.registry.v1 import (
    dataset_service_pb2_grpc,
    download_service_pb2_grpc,
    export_service_pb2_grpc,
    provenance_service_pb2_grpc,
    quality_service_pb2_grpc,
    registry_service_pb2_grpc,
    storage_service_pb2_grpc,
    training_record_service_pb2_grpc,
)

from migrations import HEAD
from services.chassis import database
from services.chassis.host.sensors import LocalSensors, volumes
from services.chassis.leases import Ledger
from services.chassis.server import HubServer, prepare, serve
from services.chassis.settings import load
from services.registry import metrics
from services.registry.artifacts import Artifacts
from services.registry.counting import count
from services.registry.datasets import DatasetFiles
from services.registry.downloads import Downloads
from services.registry.exports import Exports
from services.registry.intake import DatasetIntake
from services.registry.mlflow_sync.mirror import Mirror
from services.registry.mover import Mover
from services.registry.pruner import Pruner
from services.registry.publisher import Publisher
from services.registry.reading import Limits
from services.registry.reconciler import Reconciler
from services.registry.reports import Reports
from services.registry.resolution import Resolver
from services.registry.scrubber import Scrubber
from services.registry.servicer.datasets import DatasetServicer
from services.registry.servicer.downloads import DownloadServicer
from services.registry.servicer.exports import ExportServicer
from services.registry.servicer.models import RegistryServicer
from services.registry.servicer.provenance import ProvenanceServicer
from services.registry.servicer.quality import QualityServicer
from services.registry.servicer.storage import StorageServicer
from services.registry.servicer.training import TrainingRecordServicer
from services.registry.settings import RegistrySettings
from services.registry.shelf import Shelf
from services.registry.storage_reporter import StorageReporter
from services.registry.store import session
from services.registry.store.aliases import AliasStore
from services.registry.store.base_models import BaseModelStore
from services.registry.store.datasets import DatasetStore
from services.registry.store.models import ModelStore
from services.registry.store.outbox import Outbox
from services.registry.store.quality import QualityStore
from services.registry.store.reports import ReportStore
from services.registry.store.storage import StorageStore
from services.registry.store.training import TrainingRecords
from services.registry.store.versions import VersionStore
from services.registry.tiers import Tiers
from services.registry.verification import Verifier

ROLE = "mlx_hub_registry"


class Stores:
    """What reads and writes the registry's tables."""

    def __init__(self, rows: session.Sessions, *, mirrored: bool) -> None:
        """Build them; nothing is read yet."""
        self.models = ModelStore(rows, mirrored=mirrored)
        self.bases = BaseModelStore(rows)
        self.datasets = DatasetStore(rows)
        self.versions = VersionStore(rows)
        self.aliases = AliasStore(rows)
        self.quality = QualityStore(rows)
        self.reports = ReportStore(rows)
        self.training = TrainingRecords(rows, mirrored=mirrored)
        self.checks = StorageStore(rows)
        self.outbox = Outbox(rows, self.models)


class Storage:
    """What keeps files and rows together, after a crash and over the years."""

    def __init__(self, settings: RegistrySettings, stores: Stores, artifacts: Artifacts) -> None:
        """Build it; nothing runs yet."""
        self.tiers = tiers = Tiers(artifacts, settings.storage_cold_path)
        self.mover = Mover(stores.versions, tiers)
        pruner = Pruner(stores.checks, stores.reports)
        pace = (settings.scrub_bytes_per_second, settings.scrub_interval_seconds)
        self.scrubber = Scrubber(stores.checks, pruner, tiers, self.mover, *pace)
        self.reconciler = Reconciler(
            bases=stores.bases,
            datasets=stores.datasets,
            versions=stores.versions,
            checks=stores.checks,
            pruner=pruner,
            tiers=tiers,
            mover=self.mover,
            grace_s=settings.orphan_grace_seconds,
        )
        self.reporter = StorageReporter(
            checks=stores.checks,
            outbox=stores.outbox,
            tiers=tiers,
            reconciler=self.reconciler,
            reader=self.scrubber.reader,
        )


class Registry:
    """Every object of the process, tied together."""

    def __init__(self, settings: RegistrySettings) -> None:
        """Build all; nothing is opened yet."""
        self.engine = database.create_engine(settings.database_url, ROLE)
        mirrored = bool(settings.mlflow_tracking_uri)
        self.stores = Stores(session.sessions(self.engine), mirrored=mirrored)
        self.artifacts = Artifacts(settings.storage_active_path, settings.storage_archive_path)
        self.storage = Storage(settings, self.stores, self.artifacts)
        kept = (self.stores.models, self.stores.bases, self.stores.versions, self.artifacts)
        self.resolver = Resolver(*kept)
        self._build_exports(settings)
        linger_s = settings.report_background_seconds
        self.reports = Reports(self.stores.bases, self.stores.reports, self.artifacts, linger_s)
        self.mirror = Mirror(self.stores.outbox) if mirrored else None
        self.server = HubServer("registry", settings, database.translate)
        self.settings = settings
        self._counting: asyncio.Task[None] | None = None
        self._add_registry(settings)
        self._add_datasets(settings)
        self._add_others(settings)

    def _build_exports(self, settings: RegistrySettings) -> None:
        bounds = (settings.export_max_bytes, settings.export_keep_seconds)
        shelf = Shelf(settings.storage_active_path, *bounds)
        ledger = Ledger.of(settings)
        self.exports = Exports(self.resolver, self.artifacts, shelf, ledger)
        stores = self.stores
        self.downloads = Downloads(stores.versions, stores.datasets, self.artifacts, shelf)

    def _add_registry(self, settings: RegistrySettings) -> None:
        stores = self.stores
        kept = (stores.models, stores.bases, stores.datasets, stores.versions)
        servicer = RegistryServicer(
            models=stores.models,
            bases=stores.bases,
            versions=stores.versions,
            mover=self.storage.mover,
            aliases=stores.aliases,
            publisher=Publisher(*kept, self.artifacts, settings.keys()),
            resolver=self.resolver,
        )
        registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(servicer, self.server.grpc)

    def _add_datasets(self, settings: RegistrySettings) -> None:
        files = DatasetFiles(settings.dataset_root, self.artifacts, _limits(settings))
        intake = DatasetIntake(self.stores.datasets, files)
        servicer = DatasetServicer(self.stores.datasets, intake, self.reports)
        dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(servicer, self.server.grpc)

    def _add_others(self, settings: RegistrySettings) -> None:
        stores, tiers = self.stores, self.storage.tiers
        verifier = Verifier(stores.bases, stores.versions, tiers, settings.keys())
        quality_service_pb2_grpc.add_QualityServiceServicer_to_server(
            QualityServicer(stores.quality), self.server.grpc
        )
        training_record_service_pb2_grpc.add_TrainingRecordServiceServicer_to_server(
            TrainingRecordServicer(stores.training), self.server.grpc
        )
        provenance_service_pb2_grpc.add_ProvenanceServiceServicer_to_server(
            ProvenanceServicer(verifier), self.server.grpc
        )
        download_service_pb2_grpc.add_DownloadServiceServicer_to_server(
            DownloadServicer(self.downloads), self.server.grpc
        )
        export_service_pb2_grpc.add_ExportServiceServicer_to_server(
            ExportServicer(self.exports), self.server.grpc
        )
        storage_service_pb2_grpc.add_StorageServiceServicer_to_server(
            StorageServicer(self.storage.reporter), self.server.grpc
        )

    async def start(self) -> None:
        """Refuse a wrong revision, settle what a crash left, begin to mirror."""
        await database.check_revision(self.engine, HEAD)
        await self.storage.reconciler.run()
        await self.storage.scrubber.start()
        await self.exports.start()
        if self.mirror:
            await self.mirror.start()
        self._counting = asyncio.create_task(count(self.stores.checks))
        folders = volumes(self.settings)
        metrics.HOST.start(lambda: LocalSensors(folders), Ledger.of(self.settings))

    async def close(self) -> None:
        """Leave no process and no connection behind; a second time does nothing."""
        metrics.HOST.stop()
        if self._counting:
            self._counting.cancel()
        await self.storage.scrubber.stop()
        await self.reports.close()
        await self.exports.close()
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
