"""Calls about the engines, which hold models in memory."""

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from mlx_hub.client.contract import Call, Slow, method
from mlx_hub.inference.v1 import inference_service_pb2 as service
from mlx_hub.inference.v1 import residency_pb2 as pb

LOAD_SECONDS = 900.0


def _rpc(name: str) -> MethodDescriptor:
    return method(service.DESCRIPTOR, "InferenceService", name)


def list_engines() -> Call[pb.ListEnginesResponse]:
    """Tell what is in memory, what it takes, and which requests may have ended engines."""
    return Call(_rpc("ListEngines"), pb.ListEnginesRequest(), pb.ListEnginesResponse)


def load_model(
    model_id: int,
    *,
    version: int | str = "",
    pin: bool | None = None,
    keep_alive_seconds: int | None = None,
) -> Slow[pb.Engine]:
    """Bring a model's engine into memory and wait until it is ready.

    `pin` keeps it from being evicted, or lets it be again; `keep_alive_seconds` is how long it
    stays unused. What is None stays as it is.
    """
    request = pb.LoadModelRequest(
        model_id=model_id, version=str(version), pin=pin, keep_alive_seconds=keep_alive_seconds
    )
    return Slow(_rpc("LoadModel"), request, pb.Engine, LOAD_SECONDS)


def unload_model(model_id: int, *, version: int | str = "", force: bool = False) -> Call[Empty]:
    """End a model's engine; while requests use it, only by `force`, which ends them too."""
    request = pb.UnloadModelRequest(model_id=model_id, version=str(version), force=force)
    return Call(_rpc("UnloadModel"), request, Empty)
