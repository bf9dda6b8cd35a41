"""Services that answer by the book: the gateway's tests stand in front of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from google.api import httpbody_pb2
from mlx_hub.registry.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    model_pb2,
    provenance_service_pb2,
    provenance_service_pb2_grpc,
    registry_service_pb2,
    registry_service_pb2_grpc,
)
from mlx_hub.system.v1 import system_service_pb2, system_service_pb2_grpc
from mlx_hub.trainer.v1 import (
    trainer_service_pb2,
    trainer_service_pb2_grpc,
    training_event_pb2,
    training_log_pb2,
)

from services.chassis.errors import AlreadyExists, Exhausted, NotFound, Unavailable
from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.requests import Context, created
from services.chassis.status import to_status

FAILURES: dict[int, Exception] = {
    404: NotFound("MODEL_NOT_FOUND", "model 404 does not exist", metadata={"model_id": "404"}),
    409: AlreadyExists("NAME_TAKEN", "taken", metadata={"name": "taken"}),
    429: Exhausted("QUEUE_FULL", "full", retry_after_s=3),
    500: RuntimeError("a secret"),
    503: Unavailable("SHUTTING_DOWN", "the service stops"),
}
BROKEN = Unavailable("ENGINE_DIED", "the engine ended")


class Recorder(AroundInterceptor):
    """Remembers which server got which call."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []

    def accept(self, method: str, request: Any, context: Context) -> None:
        self.calls.append((method, request, dict(context.invocation_metadata() or ())))


class Registry(registry_service_pb2_grpc.RegistryServiceServicer):
    async def GetModel(
        self, request: registry_service_pb2.GetModelRequest, context: Context
    ) -> model_pb2.Model:
        if request.model_id in FAILURES:
            raise FAILURES[request.model_id]
        return model_pb2.Model(id=request.model_id, name="a-model", tags={"k": "v"})

    async def CreateModel(
        self, request: registry_service_pb2.CreateModelRequest, context: Context
    ) -> model_pb2.Model:
        if request.name == "taken":
            raise FAILURES[409]
        await created(context, "/models/7")
        return model_pb2.Model(id=7, name=request.name, base_model=request.base_model)


class Provenance(provenance_service_pb2_grpc.ProvenanceServiceServicer):
    async def GetStatement(
        self, request: provenance_service_pb2.GetStatementRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/vnd.in-toto+json", data=b'{"a": 1}')


class Datasets(dataset_service_pb2_grpc.DatasetServiceServicer):
    """Counts what is uploaded, once it is let: until then it reads nothing but the first piece."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()

    async def UploadDataset(
        self, requests: AsyncIterator[dataset_service_pb2.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.Dataset:
        first = await anext(requests)
        await asyncio.to_thread(self.go_on.wait, 60)
        size = len(first.body.data)
        async for request in requests:
            size += len(request.body.data)
        await created(context, "/datasets/7")
        return dataset_pb2.Dataset(id=7, name=first.name, size_bytes=size)


class Trainer(trainer_service_pb2_grpc.TrainerServiceServicer):
    async def WatchTrainingJob(
        self, request: trainer_service_pb2.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[training_event_pb2.TrainingEvent]:
        if request.job_id in FAILURES:
            raise FAILURES[request.job_id]
        yield training_event_pb2.TrainingEvent(sequence=1)
        yield training_event_pb2.TrainingEvent(sequence=2, error=to_status(BROKEN))
        raise BROKEN

    async def TailTrainingJobLogs(
        self, request: training_log_pb2.TailTrainingJobLogsRequest, context: Context
    ) -> AsyncIterator[training_log_pb2.TrainingLogEvent]:
        yield training_log_pb2.TrainingLogEvent(line=training_log_pb2.TrainingLogLine(sequence=1))


class System(system_service_pb2_grpc.SystemServiceServicer):
    def __init__(self, server: str) -> None:
        self.server = server
        self.serving = True

    async def GetHealth(
        self, request: system_service_pb2.GetHealthRequest, context: Context
    ) -> system_service_pb2.Health:
        if not self.serving:
            await context.send_initial_metadata((("x-http-code", "503"),))
        one = system_service_pb2.ServingStatus.SERVING_STATUS_SERVING
        status = one if self.serving else system_service_pb2.SERVING_STATUS_NOT_SERVING
        service = system_service_pb2.ServiceHealth(name=self.server, status=status)
        return system_service_pb2.Health(status=status, services=[service])

    async def GetMetrics(
        self, request: system_service_pb2.GetMetricsRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        text = b"# HELP up Up.\nup 1.0\n"
        return httpbody_pb2.HttpBody(content_type="text/plain; version=0.0.4", data=text)
