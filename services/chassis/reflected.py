"""What reflection tells of: the whole contract, by each service, whichever the gateway asks."""

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from mlx_hub.inference.v1 import inference_service_pb2
from mlx_hub.openai.v1 import openai_service_pb2
from mlx_hub.registry.v1 import (
    dataset_service_pb2,
    download_service_pb2,
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
