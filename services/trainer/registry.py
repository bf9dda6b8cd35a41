"""What the trainer asks of the registry: what to train on, and to publish what came of it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
from mlx_hub.registry.v1 import (
    dataset_pb2,
    dataset_report_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    lineage_pb2,
    publication_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
    training_record_pb2,
    training_record_service_pb2_grpc,
    version_messages_pb2,
    version_pb2,
)

from services.chassis.errors import DataLoss, FailedPrecondition, NotFound
from services.chassis.status import from_rpc_error
from services.trainer import admission
from services.trainer.domain import Order

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
# A small dataset's report takes seconds; somebody waits for the job.
REPORT_SECONDS = 15.0
# The registry hashes and copies the files before it answers.
PUBLISH_SECONDS = 600.0


@dataclass(frozen=True)
class Inputs:
    """The files a job trains on."""

    base_path: Path
    base_digest: str
    dataset_path: Path
    dataset_digest: str


class Registry:
    """The registry's stub, with its errors as ours."""

    def __init__(self, channel: grpc.aio.Channel, archive: Path) -> None:
        """Take the way to the registry and the folder its paths are relative to."""
        self._stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        self._datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        self._records = training_record_service_pb2_grpc.TrainingRecordServiceStub(channel)
        self._archive = archive.resolve()

    async def check(self, model_id: int, dataset_id: int) -> dataset_pb2.Dataset:
        """Give the dataset; raise if it or the model does not exist."""
        try:
            await self._stub.GetModel(
                registry_service_pb2.GetModelRequest(model_id=model_id), timeout=CALL_SECONDS
            )
            return await self._dataset(dataset_id)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    async def admit(self, order: Order) -> dataset_report_pb2.DatasetReport | None:
        """Give the report on a job's data; raise UNTRAINABLE if rows could teach nothing.

        When the report takes too long, the job is let in: its worker looks before step 1.
        """
        report = await self.look(order)
        if report is not None:
            admission.check(report, order.recipe)
        return report

    async def look(self, order: Order) -> dataset_report_pb2.DatasetReport | None:
        """Give the report on a job's data, or None when it takes too long."""
        names = dataset_report_pb2.ReportParameters.DESCRIPTOR.fields_by_name
        request = dataset_service_pb2.GetDatasetReportRequest(
            dataset_id=order.dataset_id,
            model_id=order.model_id,
            **{name: getattr(order.recipe, name) for name in names},
        )
        try:
            return await self._datasets.GetDatasetReport(request, timeout=REPORT_SECONDS)
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error, "registry")
            if isinstance(known, NotFound | FailedPrecondition | DataLoss):
                raise known from error
            log.warning("there is no report on a job's data: %s", known)
            return None

    async def inputs(self, model_id: int, dataset_id: int) -> Inputs:
        """Find a job's files; the registry has verified them."""
        request = publication_pb2.ResolveModelRequest(model_id=model_id, version="base")
        try:
            base = (await self._stub.ResolveModel(request, timeout=CALL_SECONDS)).base_model
            dataset = await self._dataset(dataset_id)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error
        return Inputs(
            base_path=self._locate(base.artifact_path),
            base_digest=base.digest,
            dataset_path=self._locate(f"datasets/{dataset.checksum}.jsonl"),
            dataset_digest=dataset.checksum,
        )

    async def lineage(self, model_id: int, version: int) -> lineage_pb2.Lineage:
        """Give what a version was made from."""
        request = version_messages_pb2.GetLineageRequest(model_id=model_id, version=str(version))
        try:
            return await self._stub.GetLineage(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    async def publish(
        self, request: publication_pb2.PublishVersionRequest
    ) -> version_pb2.ModelVersion:
        """Publish a finished job's adapter; the same job again gives the same version."""
        try:
            return await self._stub.PublishVersion(request, timeout=PUBLISH_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    async def record(
        self, job_id: int, model_id: int, facts: Iterable[training_record_pb2.TrainingFact]
    ) -> None:
        """Tell what happened to a job; the same facts again change nothing."""
        request = training_record_pb2.RecordTrainingFactsRequest(
            job_id=job_id, model_id=model_id, facts=facts
        )
        try:
            await self._records.RecordTrainingFacts(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    async def _dataset(self, dataset_id: int) -> dataset_pb2.Dataset:
        request = dataset_service_pb2.GetDatasetRequest(dataset_id=dataset_id)
        return await self._datasets.GetDataset(request, timeout=CALL_SECONDS)

    def _locate(self, stored: str) -> Path:
        path = (self._archive / stored).resolve()
        if not path.is_relative_to(self._archive):
            raise DataLoss("ARTIFACT_CORRUPT", "a stored path leaves the archive")
        return path
