"""Calls that prove what a version is."""

from google.api.httpbody_pb2 import HttpBody
from mlx_hub.client.contract import Call, Generation, method
from mlx_hub.registry.v1 import provenance_service_pb2 as pb
from mlx_hub.registry.v1.provenance_service_pb2 import Verification


def verify_version(
    model_id: int, version: int | str = "latest", *, timeout: float | None = None
) -> Generation[Verification]:
    """Compare every byte that a version stands on with the record; that takes as long as it takes.

    Damage is the answer, not an error: look at `intact` and `checks`.
    """
    rpc = method(pb.DESCRIPTOR, "ProvenanceService", "VerifyVersion")
    request = pb.VerifyVersionRequest(model_id=model_id, version=str(version))
    return Generation(rpc, request, Verification, timeout=timeout)


def get_statement(model_id: int, version: int | str = "latest") -> Call[HttpBody]:
    """Get a version's in-toto statement; in its DSSE envelope when it was signed."""
    rpc = method(pb.DESCRIPTOR, "ProvenanceService", "GetStatement")
    request = pb.GetStatementRequest(model_id=model_id, version=str(version))
    return Call(rpc, request, HttpBody)
