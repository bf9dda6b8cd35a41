"""Calls about training data."""

from uuid import uuid4

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from mlx_hub.client.contract import Call, Find, Pages, Slow, method
from mlx_hub.client.errors import NotFound
from mlx_hub.client.upload import Progress, Source, Upload, start_of
from mlx_hub.registry.v1 import dataset_service_pb2 as pb
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport

#: The first report on a large dataset reads every row.
REPORT_SECONDS = 300.0


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "DatasetService", name)


def create_dataset(name: str, path: str, *, request_id: str | None = None) -> Call[Dataset]:
    """Register a JSONL file by its path relative to the dataset root."""
    request = pb.CreateDatasetRequest(name=name, path=path, request_id=request_id or str(uuid4()))
    return Call(_rpc("CreateDataset"), request, Dataset)


def upload_dataset(
    name: str,
    file: Source,
    *,
    request_id: str | None = None,
    timeout: float | None = None,
    on_progress: Progress | None = None,
) -> Upload[Dataset]:
    """Register a JSONL file of this machine, by its path or open in binary mode.

    A repeat with the same request id and the same bytes is safe. It takes as long as it takes,
    unless `timeout` says otherwise. `on_progress` hears the bytes sent and their total, or None,
    from a thread of its own; an upload that is repeated begins at 0 again.
    """
    request = pb.UploadDatasetRequest(name=name, request_id=request_id or str(uuid4()))
    return Upload(
        _rpc("UploadDataset"),
        request,
        Dataset,
        source=file,
        piece=lambda data: pb.UploadDatasetRequest(body=HttpBody(data=data)),
        start=start_of(file),
        timeout=timeout,
        on_progress=on_progress,
    )


def delete_dataset(dataset_id: int) -> Call[Empty]:
    """Delete a dataset that no job, version, evaluation or gate refers to."""
    return Call(_rpc("DeleteDataset"), pb.DeleteDatasetRequest(dataset_id=dataset_id), Empty)


def get_dataset(dataset_id: int) -> Call[Dataset]:
    """Get one dataset."""
    return Call(_rpc("GetDataset"), pb.GetDatasetRequest(dataset_id=dataset_id), Dataset)


def report_dataset(
    dataset_id: int,
    model_id: int,
    *,
    max_seq_length: int | None = None,
    batch_size: int | None = None,
    mask_prompt: bool | None = None,
    seed: int | None = None,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
) -> Slow[DatasetReport]:
    """Report what a job on a model would make of a dataset; the rest is as in a job."""
    request = pb.GetDatasetReportRequest(
        dataset_id=dataset_id,
        model_id=model_id,
        max_seq_length=max_seq_length,
        batch_size=batch_size,
        mask_prompt=mask_prompt,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )
    return Slow(_rpc("GetDatasetReport"), request, DatasetReport, REPORT_SECONDS)


def list_datasets(
    *, name_prefix: str = "", page_size: int = 0
) -> Pages[pb.ListDatasetsResponse, Dataset]:
    """List datasets by rising id."""
    request = pb.ListDatasetsRequest(page_size=page_size, name_prefix=name_prefix)
    call = Call(_rpc("ListDatasets"), request, pb.ListDatasetsResponse)
    return Pages(call, lambda page: page.datasets, lambda page: page.next_page_token)


def find_dataset(name: str) -> Find[pb.ListDatasetsResponse, Dataset]:
    """Get the dataset of that name."""
    missing = NotFound(
        f"there is no dataset named {name!r}", reason="DATASET_NOT_FOUND", metadata={"name": name}
    )
    return Find(list_datasets(name_prefix=name), lambda dataset: dataset.name == name, missing)
