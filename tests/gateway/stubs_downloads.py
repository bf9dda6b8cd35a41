"""Files by the book, and one that turns out to be another in the middle."""

from collections.abc import AsyncGenerator, AsyncIterator

from google.api.httpbody_pb2 import HttpBody
from mlx_hub.registry.v1 import download_service_pb2 as pb
from mlx_hub.registry.v1 import download_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import export_pb2
from mlx_hub.registry.v1 import export_service_pb2 as exports_pb
from mlx_hub.registry.v1 import export_service_pb2_grpc as exports_pb_grpc

from services.chassis.attachments import attachment
from services.chassis.errors import DataLoss
from services.chassis.requests import Context

PIECE = b"0123456789abcdef" * 16384
PIECES = 80
SIZE = PIECES * len(PIECE)
DAMAGED, DAMAGED_AT_ONCE, EMPTY = 500, 501, 204


class Downloads(pb_grpc.DownloadServiceServicer):
    async def GetVersionFile(
        self, request: pb.GetVersionFileRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        left = 0 if request.model_id == EMPTY else SIZE - int(request.offset)
        bodies = self._bodies(request.model_id, left)
        async for body in attachment(context, request.name, left, bodies):
            yield body

    async def GetExportFile(
        self, request: pb.GetExportFileRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        async for body in attachment(
            context, request.name, len(PIECE), self._bodies(1, len(PIECE))
        ):
            yield body

    async def GetDatasetFile(
        self, request: pb.GetDatasetFileRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        async for body in attachment(context, "d.jsonl", len(PIECE), self._bodies(1, len(PIECE))):
            yield body

    async def _bodies(self, model_id: int, left: int) -> AsyncGenerator[HttpBody]:
        kind = "application/octet-stream"
        if model_id == EMPTY:
            yield HttpBody(content_type=kind)
        for number in range(-(-left // len(PIECE))):
            if (model_id, number) in ((DAMAGED, PIECES - 1), (DAMAGED_AT_ONCE, 0)):
                raise DataLoss("ARTIFACT_CORRUPT", "changed", metadata={"file": "a"})
            yield HttpBody(content_type=kind, data=PIECE[: left - number * len(PIECE)])


class Exports(exports_pb_grpc.ExportServiceServicer):
    async def ExportVersion(
        self, request: exports_pb.ExportVersionRequest, context: Context
    ) -> AsyncIterator[export_pb2.ExportEvent]:
        yield export_pb2.ExportEvent(progress=export_pb2.ExportProgress(step="fusing"))
        yield export_pb2.ExportEvent(export=export_pb2.VersionExport(version=3))
