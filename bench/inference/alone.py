"""The inference service alone, over gRPC, with a registry that knows a few base models."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from mlx_hub.inference.v1 import completion_pb2, generation_pb2, inference_service_pb2_grpc
from mlx_hub.registry.v1 import (
    base_model_pb2,
    model_pb2,
    publication_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
)

from bench.inference import prompts
from services.inference.__main__ import Inference
from services.inference.settings import InferenceSettings
from services.runtime.folder import inspect_model_folder


class BaseModels(registry_service_pb2_grpc.RegistryServiceServicer):
    """A registry of base models, of which the first is served: nothing else is asked of it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take the models' folders; each is named as its folder."""
        self._bases = [_base_model(folder) for folder in folders]

    async def ResolveModel(
        self, request: publication_pb2.ResolveModelRequest, _context: Any
    ) -> publication_pb2.ResolvedModel:
        """Give the first."""
        model = model_pb2.Model(id=request.model_id, name="bench")
        return publication_pb2.ResolvedModel(model=model, base_model=self._bases[0])

    async def ListBaseModels(
        self, _request: Any, _context: Any
    ) -> registry_service_pb2.ListBaseModelsResponse:
        """Give all."""
        return registry_service_pb2.ListBaseModelsResponse(base_models=self._bases)


def _base_model(folder: Path) -> base_model_pb2.BaseModel:
    found = inspect_model_folder(folder)
    return base_model_pb2.BaseModel(
        name=folder.name, digest=found.digest, parameters=found.parameters,
        size_bytes=found.size_bytes, artifact_path=str(folder),
    )  # fmt: skip


@asynccontextmanager
async def served(folders: Sequence[Path], **settings: Any) -> AsyncIterator["Service"]:
    """Serve the first of these base models; `settings` are the service's, by their field."""
    registry = grpc.aio.server()
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(BaseModels(folders), registry)
    registry_port = registry.add_insecure_port("127.0.0.1:0")
    await registry.start()
    home = folders[0].with_name("home")
    home.mkdir(exist_ok=True)
    given = {"home": home, "registry_port": registry_port, "archive_setting": Path("/")}
    inference = Inference(InferenceSettings(**given, **settings))
    port = await inference.server.start(0)
    await inference.server.set_serving(True)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Service(inference_service_pb2_grpc.InferenceServiceStub(channel))
    finally:
        await inference.server.stop()
        await inference.close()
        await registry.stop(0)


@dataclass(frozen=True)
class Asked:
    """One answer: milliseconds to its first text, tokens, and tokens a second after the first."""

    first_ms: float
    tokens: int
    rate: float
    drafted: int = 0
    accepted: int = 0


class Service:
    """Asks the service for what no cache knows."""

    def __init__(self, stub: Any) -> None:
        """Take its stub."""
        self._stub = stub

    async def ask(self, prompt: int, tokens: int, *, drafting: bool = False) -> Asked:
        """Ask once with a prompt of so many tokens; what random tokens make may come late."""
        request = generation_pb2.GenerateRequest(
            model_id=1, prompt=prompts.long(prompt), max_tokens=tokens, cache_prompt=False,
            drafting=drafting,
        )  # fmt: skip
        start, first = time.perf_counter(), 0.0
        done = completion_pb2.Completion()
        async for frame in self._stub.StreamGenerate(request):
            first = first or time.perf_counter()
            done = frame.completion
        rate = (done.tokens - 1) / (time.perf_counter() - first)
        drafted, accepted = done.drafted_tokens, done.accepted_tokens
        return Asked((first - start) * 1000, done.tokens, rate, drafted, accepted)

    async def together(self, streams: int, prompt: int, tokens: int) -> float:
        """Ask for many at once; give all tokens over the seconds until the last."""
        start = time.perf_counter()
        answers = await asyncio.gather(*(self.ask(prompt, tokens) for _ in range(streams)))
        return sum(answer.tokens for answer in answers) / (time.perf_counter() - start)
