"""ExportService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from mlx_hub.registry.v1 import export_pb2
from mlx_hub.registry.v1 import export_service_pb2 as pb
from mlx_hub.registry.v1 import export_service_pb2_grpc as pb_grpc

from services.chassis.broken import with_error_frame
from services.chassis.requests import Context
from services.registry.exports import Exports
from services.registry.messages.exports import to_broken, to_event, wish_of


class ExportServicer(pb_grpc.ExportServiceServicer):
    """Serves exports; every rule lives below."""

    def __init__(self, exports: Exports) -> None:
        """Take what does the work."""
        self._exports = exports

    async def ExportVersion(
        self, request: pb.ExportVersionRequest, context: Context
    ) -> AsyncIterator[export_pb2.ExportEvent]:
        """Make an export and tell each step."""
        frames = self._exports.export(request.model_id, request.version, wish_of(request))
        async with aclosing(with_error_frame(frames, to_event, to_broken)) as events:
            async for event in events:
                yield event
