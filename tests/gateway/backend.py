"""The three stub servers, on a thread of their own so that tests may block."""

import asyncio
import threading
from collections.abc import Container
from importlib import import_module
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from mlx_hub.inference.v1 import inference_service_pb2_grpc as inference
from mlx_hub.openai.v1 import openai_service_pb2_grpc as openai
from mlx_hub.registry.v1 import dataset_service_pb2_grpc as dataset
from mlx_hub.registry.v1 import download_service_pb2_grpc as download
from mlx_hub.registry.v1 import export_service_pb2_grpc as export
from mlx_hub.registry.v1 import provenance_service_pb2_grpc as provenance
from mlx_hub.registry.v1 import registry_service_pb2_grpc as registry
from mlx_hub.system.v1 import system_service_pb2_grpc as system
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as trainer

from gateway.contract import services
from services.chassis import reflected
from services.chassis.interceptors.errors import Errors
from services.chassis.server import OPTIONS
from tests.gateway.stubs import Datasets, Provenance, Recorder, Registry, System, Trainer
from tests.gateway.stubs_downloads import Downloads, Exports
from tests.gateway.stubs_inference import Inference, OpenAI

NAMES = ("registry", "trainer", "inference")


class Backend:
    """Starts and stops the stubs; `recorders` hold what each server was called with."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.recorders = {name: Recorder(name) for name in NAMES}
        self.systems = {name: System(name) for name in NAMES}
        self.datasets = make(Datasets)
        self.inference: Inference = make(Inference)
        self._servers: dict[str, grpc.aio.Server] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        for name in NAMES:
            self.start_server(name)

    def stop(self) -> None:
        for name in list(self._servers):
            self.stop_server(name)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start_server(self, name: str) -> None:
        self._run(self._start(name))

    def stop_server(self, name: str) -> None:
        server = self._servers.pop(name)
        self._run(server.stop(None))

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self, name: str) -> None:
        server = grpc.aio.server(interceptors=(self.recorders[name], Errors()), options=OPTIONS)
        if name == "registry":
            registry.add_RegistryServiceServicer_to_server(make(Registry), server)
            dataset.add_DatasetServiceServicer_to_server(self.datasets, server)
            provenance.add_ProvenanceServiceServicer_to_server(make(Provenance), server)
            download.add_DownloadServiceServicer_to_server(make(Downloads), server)
            export.add_ExportServiceServicer_to_server(make(Exports), server)
            nouns = ("Registry", "Dataset", "Provenance", "Download", "Export")
            scripted = [f"{noun}Service" for noun in nouns]
            add_unscripted("mlx_hub.registry.v1", scripted, server)
        elif name == "trainer":
            trainer.add_TrainerServiceServicer_to_server(make(Trainer), server)
        else:
            inference.add_InferenceServiceServicer_to_server(self.inference, server)
            openai.add_OpenAIServiceServicer_to_server(make(OpenAI), server)
        system.add_SystemServiceServicer_to_server(self.systems[name], server)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        reflected.enable(server)
        port = self.ports.get(name, 0)
        self.ports[name] = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        self._servers[name] = server


def add_unscripted(package: str, scripted: Container[str], server: grpc.aio.Server) -> None:
    """Add a package's other services; all their rpcs answer UNIMPLEMENTED."""
    for service in services():
        if service.file.package == package and service.name not in scripted:
            stubs = import_module(
                service.file.name.replace(".proto", "_pb2_grpc").replace("/", ".")
            )
            servicer = getattr(stubs, f"{service.name}Servicer")()
            getattr(stubs, f"add_{service.name}Servicer_to_server")(servicer, server)


def make(servicer: Any) -> Any:
    """Build a servicer that leaves rpcs out; those answer UNIMPLEMENTED."""
    return servicer()
