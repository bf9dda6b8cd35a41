"""What reflection tells of: the whole contract, by each service, whichever the gateway asks."""

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection, reflection_pb2
from mlx_hub.inference.v1 import inference_service_pb2
from mlx_hub.openai.v1 import openai_service_pb2
from mlx_hub.registry.v1 import (
    dataset_service_pb2,
    download_service_pb2,
    export_service_pb2,
    provenance_service_pb2,
    quality_service_pb2,
    registry_service_pb2,
    storage_service_pb2,
    training_record_service_pb2,
)
from mlx_hub.system.v1 import system_service_pb2
from mlx_hub.trainer.v1 import trainer_service_pb2

# Named by their modules: a service whose module nobody imported could be listed, but not described.
_CONTRACT = (
    registry_service_pb2,
    dataset_service_pb2,
    download_service_pb2,
    export_service_pb2,
    quality_service_pb2,
    training_record_service_pb2,
    provenance_service_pb2,
    storage_service_pb2,
    trainer_service_pb2,
    inference_service_pb2,
    openai_service_pb2,
    system_service_pb2,
)

REFLECTED = (
    *(name.full_name for m in _CONTRACT for name in m.DESCRIPTOR.services_by_name.values()),
    health.SERVICE_NAME,
    reflection.SERVICE_NAME,
)
V1 = "grpc.reflection.v1.ServerReflection"


def enable(server: grpc.aio.Server) -> None:
    """Add reflection under its old name and its new one: the messages are the same on the wire."""
    pool = descriptor_pool.Default()
    reflection.enable_server_reflection(REFLECTED, server, pool)
    servicer = reflection.aio.ReflectionServicer(REFLECTED, pool)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": method})
    server.add_generic_rpc_handlers((handler,))
