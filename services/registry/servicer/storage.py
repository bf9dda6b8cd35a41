"""StorageService."""

from mlx_hub.registry.v1 import storage_report_pb2 as report_pb
from mlx_hub.registry.v1 import storage_service_pb2 as pb
from mlx_hub.registry.v1 import storage_service_pb2_grpc as pb_grpc

from services.chassis.requests import Context
from services.registry.messages.storage import to_report
from services.registry.storage_reporter import StorageReporter


class StorageServicer(pb_grpc.StorageServiceServicer):
    """Serves the state of the stored files; every rule lives below."""

    def __init__(self, reporter: StorageReporter) -> None:
        """Take what does the work."""
        self._reporter = reporter

    async def GetStorageReport(
        self, request: pb.GetStorageReportRequest, context: Context
    ) -> report_pb.StorageReport:
        """Tell how the stored files are."""
        return to_report(await self._reporter.report())

    async def ReconcileStorage(
        self, request: pb.ReconcileStorageRequest, context: Context
    ) -> report_pb.StorageReport:
        """Settle them, then tell."""
        return to_report(await self._reporter.reconciled())
