"""Calls about the stored files."""

from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.contract import Call, method
from mlx_hub.registry.v1 import storage_service_pb2 as pb
from mlx_hub.registry.v1.storage_report_pb2 import StorageReport


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "StorageService", name)


def get_report() -> Call[StorageReport]:
    """Tell what is stored where, what is damaged, and what waits to be removed."""
    return Call(_rpc("GetStorageReport"), pb.GetStorageReportRequest(), StorageReport)


def reconcile() -> Call[StorageReport]:
    """Compare files and rows now, as every start does, and tell what was found."""
    return Call(_rpc("ReconcileStorage"), pb.ReconcileStorageRequest(), StorageReport)
