"""DatasetService."""

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from mlx_hub.registry.v1 import dataset_pb2 as dataset_pb
from mlx_hub.registry.v1 import dataset_report_pb2 as report_pb
from mlx_hub.registry.v1 import dataset_service_pb2 as pb
from mlx_hub.registry.v1 import dataset_service_pb2_grpc as pb_grpc

from services.chassis import requests
from services.chassis.paging import page_size
from services.chassis.requests import Context
from services.registry.intake import DatasetIntake
from services.registry.messages import uploads
from services.registry.messages.datasets import new_dataset, to_dataset
from services.registry.messages.reports import report_parameters
from services.registry.reports import LONGEST_S, Reports
from services.registry.servicer.pages import cursor, next_token
from services.registry.store.datasets import DatasetStore


class DatasetServicer(pb_grpc.DatasetServiceServicer):
    """Serves datasets; every rule lives below."""

    def __init__(self, datasets: DatasetStore, intake: DatasetIntake, reports: Reports) -> None:
        """Take what does the work."""
        self._datasets = datasets
        self._intake = intake
        self._reports = reports

    async def CreateDataset(
        self, request: pb.CreateDatasetRequest, context: Context
    ) -> dataset_pb.Dataset:
        """Register a JSONL file under the dataset root."""
        identifier = requests.request_id(request, context)
        new = new_dataset(request, identifier, requests.body_digest(request))
        dataset = await self._intake.create(new)
        await requests.created(context, f"/datasets/{dataset.id}")
        return to_dataset(dataset)

    async def UploadDataset(
        self, incoming: AsyncIterator[pb.UploadDatasetRequest], context: Context
    ) -> dataset_pb.Dataset:
        """Register the bytes that are sent."""
        first = await anext(incoming, pb.UploadDatasetRequest())
        uploads.check_start(first, requests.metadata_of(context, "content-encoding"))
        identifier = requests.request_id(first, context)
        pieces = uploads.pieces(first, incoming)
        dataset = await self._intake.upload(first.name, identifier, pieces)
        await requests.created(context, f"/datasets/{dataset.id}")
        return to_dataset(dataset)

    async def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: Context
    ) -> pb.ListDatasetsResponse:
        """List datasets by rising id."""
        key = {"list": "datasets", "name_prefix": request.name_prefix}
        after = cursor(request.page_token, key, first=0)
        page = await self._datasets.page(request.name_prefix, after, page_size(request.page_size))
        return pb.ListDatasetsResponse(
            datasets=[to_dataset(dataset) for dataset in page.items],
            next_page_token=next_token(page, key, "id"),
        )

    async def GetDataset(
        self, request: pb.GetDatasetRequest, context: Context
    ) -> dataset_pb.Dataset:
        """Get one dataset."""
        return to_dataset(await self._datasets.get(request.dataset_id))

    async def GetDatasetReport(
        self, request: pb.GetDatasetReportRequest, context: Context
    ) -> report_pb.DatasetReport:
        """Report what a job on a model would make of a dataset."""
        dataset = await self._datasets.get(request.dataset_id)
        parameters = report_parameters(request, dataset)
        patience = requests.time_left(context, LONGEST_S)
        return await self._reports.report(dataset, request.model_id, parameters, patience)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> Empty:
        """Delete a dataset that nothing refers to."""
        await self._datasets.delete(request.dataset_id)
        return Empty()
