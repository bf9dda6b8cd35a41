"""What the operator's commands ask of the running registry, as the services do, by its stub."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from mlx_hub.registry.v1 import (
    model_pb2,
    publication_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
    version_pb2,
)

from services.chassis.settings import LOOPBACK
from services.chassis.status import from_rpc_error
from services.stack.errors import StackError
from services.stack.home import Home
from services.stack.settings import StackSettings

CALL_SECONDS = 30.0
# The registry hashes and copies the files before it answers.
PUBLISH_SECONDS = 600.0


@dataclass(frozen=True)
class Registry:
    """The stub, and the folder that the registry's paths are relative to."""

    stub: Any
    archive: Path

    def resolve(self, model: str, version: str) -> publication_pb2.ResolvedModel:
        """Find a model by name or id, and the verified files of a version or of `base`."""
        request = publication_pb2.ResolveModelRequest(model_id=self._id(model), version=version)
        with _told():
            found: publication_pb2.ResolvedModel = self.stub.ResolveModel(
                request, timeout=CALL_SECONDS
            )
        return found

    def publish(self, request: publication_pb2.PublishVersionRequest) -> version_pb2.ModelVersion:
        """Publish a staged adapter."""
        with _told():
            made: version_pb2.ModelVersion = self.stub.PublishVersion(
                request, timeout=PUBLISH_SECONDS
            )
        return made

    def locate(self, stored: str) -> Path:
        """Find a stored folder or file."""
        path = (self.archive / stored).resolve()
        if not path.is_relative_to(self.archive.resolve()):
            raise StackError("A stored path leaves the archive; run `mlx-hub doctor`.")
        return path

    def _id(self, model: str) -> int:
        if model.isdecimal():
            return min(int(model), 2**31 - 1)
        for found in self._named(model):
            if found.name == model:
                return found.id
        raise StackError(
            f"There is no model {model!r}; `mlx-hub models list` shows those there are."
        )

    def _named(self, prefix: str) -> Iterator[model_pb2.Model]:
        request = registry_service_pb2.ListModelsRequest(name_prefix=prefix, page_size=1000)
        while True:
            with _told():
                page = self.stub.ListModels(request, timeout=CALL_SECONDS)
            yield from page.models
            request.page_token = page.next_page_token
            if not request.page_token:
                return


@contextmanager
def running_registry(settings: StackSettings) -> Iterator[Registry]:
    """Reach the registry of the stack that runs on this home."""
    running = Home(settings.home).ports()
    if running is None:
        raise StackError(f"No hub runs on {settings.home}; start it with `mlx-hub up`.")
    with grpc.insecure_channel(f"{LOOPBACK}:{running['registry']}") as channel:
        # Its types are those of asyncio's channels alone.
        stub = registry_service_pb2_grpc.RegistryServiceStub(channel)  # type: ignore[arg-type]
        yield Registry(stub, settings.storage_archive_path)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise StackError(str(from_rpc_error(error, "registry"))) from error
