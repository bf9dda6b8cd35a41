"""ProvenanceService."""

from google.api import httpbody_pb2
from mlx_hub.registry.v1 import provenance_service_pb2 as pb
from mlx_hub.registry.v1 import provenance_service_pb2_grpc as pb_grpc

from services.chassis.requests import Context
from services.registry.messages.provenance import to_verification
from services.registry.verification import Verifier


class ProvenanceServicer(pb_grpc.ProvenanceServiceServicer):
    """Serves statements and verifications; every rule lives below."""

    def __init__(self, verifier: Verifier) -> None:
        """Take what does the work."""
        self._verifier = verifier

    async def VerifyVersion(
        self, request: pb.VerifyVersionRequest, context: Context
    ) -> pb.Verification:
        """Compare every byte that a version stands on with the record."""
        return to_verification(await self._verifier.verify(request.model_id, request.version))

    async def GetStatement(
        self, request: pb.GetStatementRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Give a version's statement as it is stored."""
        kind, content = await self._verifier.statement(request.model_id, request.version)
        return httpbody_pb2.HttpBody(content_type=kind, data=content)
