"""DownloadService."""

from collections.abc import AsyncIterator

from google.api.httpbody_pb2 import HttpBody
from mlx_hub.registry.v1 import download_service_pb2 as pb
from mlx_hub.registry.v1 import download_service_pb2_grpc as pb_grpc

from services.chassis.attachments import attachment
from services.chassis.requests import Context
from services.registry.downloads import Downloads
from services.registry.messages.downloads import to_bodies, to_version_files


class DownloadServicer(pb_grpc.DownloadServiceServicer):
    """Serves stored files; every rule lives below."""

    def __init__(self, downloads: Downloads) -> None:
        """Take what does the work."""
        self._downloads = downloads

    async def ListVersionFiles(
        self, request: pb.ListVersionFilesRequest, context: Context
    ) -> pb.VersionFiles:
        """List the files of a version."""
        return to_version_files(await self._downloads.files(request.model_id, request.version))

    async def GetVersionFile(
        self, request: pb.GetVersionFileRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Give the bytes of one file of a version."""
        found = await self._downloads.of_version(
            request.model_id, request.version, request.name, request.offset
        )
        bodies = to_bodies(found.pieces)
        async for body in attachment(context, found.name, found.bytes_left, bodies):
            yield body

    async def GetExportFile(
        self, request: pb.GetExportFileRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Give the bytes of one file of an export."""
        wanted = (request.model_id, request.version, request.export_id, request.name)
        found = await self._downloads.of_export(*wanted, request.offset)
        bodies = to_bodies(found.pieces)
        async for body in attachment(context, found.name, found.bytes_left, bodies):
            yield body

    async def GetDatasetFile(
        self, request: pb.GetDatasetFileRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Give the bytes of a dataset."""
        found = await self._downloads.of_dataset(request.dataset_id, request.offset)
        bodies = to_bodies(found.pieces)
        async for body in attachment(context, found.name, found.bytes_left, bodies):
            yield body
