"""Datasets on the wire."""

from mlx_hub.registry.v1 import dataset_pb2 as dataset_pb
from mlx_hub.registry.v1 import dataset_service_pb2 as pb

from services.registry.domain import Dataset, DatasetSchema, NewDataset
from services.registry.messages.times import to_timestamp

SCHEMA = {
    DatasetSchema.CHAT: dataset_pb.DATASET_SCHEMA_CHAT,
    DatasetSchema.COMPLETION: dataset_pb.DATASET_SCHEMA_COMPLETION,
    DatasetSchema.TEXT: dataset_pb.DATASET_SCHEMA_TEXT,
}


def new_dataset(request: pb.CreateDatasetRequest, request_id: str, digest: str) -> NewDataset:
    """Read what to register."""
    return NewDataset(request.name, request.path, request_id, digest)


def to_dataset(dataset: Dataset) -> dataset_pb.Dataset:
    """Write a dataset."""
    return dataset_pb.Dataset(
        id=dataset.id,
        name=dataset.name,
        path=dataset.path,
        checksum=dataset.checksum,
        schema=SCHEMA[dataset.schema],
        rows=dataset.rows,
        size_bytes=dataset.size_bytes,
        created_at=to_timestamp(dataset.created_at),
    )
