"""100,000 random names from callers become no series."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from google.api import httpbody_pb2
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.openai.v1 import openai_service_pb2 as openai_pb
from mlx_hub.registry.v1.model_pb2 import Model
from prometheus_client import REGISTRY

from services.chassis.errors import HubError, NotFound, Unavailable
from services.chassis.interceptors.metrics import Metrics
from services.inference.answering import Answering
from services.inference.caller import Caller
from services.inference.domain import (
    Adapter,
    Base,
    Delta,
    Finished,
    Generation,
    Provenance,
    Target,
)
from services.inference.journal import Journal
from services.inference.openai import OpenAIServicer
from services.inference.scheduler import Scheduler

NAMES = 100_000
CHAT = "/mlx_hub.openai.v1.OpenAIService/CreateChatCompletion"
BASE = Base("base", "d" * 64, Path("/nowhere"), 1, 1)
TARGET = Target(BASE, None, Provenance(1, "bot", "base", BASE.digest))


class Registry:
    """Knows `bot` and its base; what else there is, no caller ever named."""

    def base_of(self, model_id: int, version: str) -> None:
        return None

    async def resolve(self, model_id: int, version: str) -> Target:
        if version == "base":
            return TARGET
        if version.startswith("~"):  # a registry of another release says what this one can't know
            raise Unavailable(version.upper(), "no such reason")
        raise NotFound("VERSION_NOT_FOUND", "none", metadata={"version": version})

    async def models(self, name_prefix: str = "") -> list[Model]:
        return [Model(id=1, name="bot")] if name_prefix == "bot" else []


class Engine:
    ended = asyncio.Event()

    async def generate(
        self, generation: Generation, adapter: Adapter | None, coming: int = 0
    ) -> AsyncGenerator[Delta | Finished, None]:
        yield Delta("x", 1)
        yield Finished(reason="stop", tokens=2, prompt_tokens=1, cached_tokens=0, ttft_ms=1)

    async def stop(self) -> None:
        """Nothing to end."""


class Hub:
    """Every way by which a caller's words come to what counts."""

    def __init__(self, journal: Journal) -> None:
        registry: Any = Registry()
        scheduler = Scheduler(self._use, rows=8, queue_limit=8)
        self._answering = Answering(registry, scheduler, journal)
        self._openai = OpenAIServicer(self._answering, registry)
        self._metrics = Metrics()
        self._context: Any = SimpleNamespace(
            invocation_metadata=tuple,
            time_remaining=lambda: None,
            send_initial_metadata=self._sent,
            cancelled=lambda: False,
            code=lambda: 0,
        )

    @asynccontextmanager
    async def _use(self, base: Base) -> AsyncIterator[Any]:
        yield Engine()

    async def _sent(self, metadata: Any) -> None:
        """Go nowhere."""

    async def ask_openai(self, model: str, words: str) -> None:
        handler: Any = grpc.unary_stream_rpc_method_handler(self._openai.CreateChatCompletion)
        counted = await self._intercepted(CHAT, handler)
        messages = [{"role": "user", "content": words, "name": words}]
        said = {"model": model, "messages": messages, "user": words, "stop": words.split()}
        body = httpbody_pb2.HttpBody(data=json.dumps(said).encode())
        request = openai_pb.CreateChatCompletionRequest(body=body)
        async for _ in counted.unary_stream(request, self._context):
            pass

    async def ask(self, version: str, words: str) -> None:
        request = pb.GenerateRequest(model_id=1, version=version, prompt=words, stop=words.split())
        async with aclosing(self._answering.answer(request, Caller(words))) as frames:
            try:
                async for _ in frames:
                    pass
            except HubError:
                return

    async def call(self, method: str) -> None:
        assert await self._intercepted(method, None) is None

    async def _intercepted(self, method: str, handler: Any) -> Any:
        async def known(details: Any) -> Any:
            return handler

        details: Any = SimpleNamespace(method=method)
        return await self._metrics.intercept_service(known, details)


def series() -> int:
    return sum(len(family.samples) for family in REGISTRY.collect())


class Names:
    """Gives names that nobody gave before, and counts them."""

    given = 0

    def __call__(self, count: int = 1) -> str:
        self.given += count
        return " ".join(uuid.uuid4().hex[:12] for _ in range(count))


async def test_random_names_add_no_series(tmp_path: Path) -> None:
    journal, some = Journal(tmp_path / "generations.db", 0), Names()
    hub = Hub(journal)
    await hub.ask_openai("bot:base", "somebody")
    await hub.ask("base", "somebody")
    answered = {"model_id": "1", "version": "0", "finish_reason": "stop"}
    assert REGISTRY.get_sample_value("mlx_hub_inference_answers_total", answered)
    before = series()
    while some.given < NAMES:
        await hub.ask_openai(some(), some(4))
        await hub.ask_openai("bot:base", some(4))
        await hub.ask_openai(f"bot@{some()}", some(4))
        await hub.ask(some(), some(4))
        await hub.ask(f"~{some()}", some(4))
        await hub.ask("base", some(4))
        for _ in range(10):
            await hub.call(f"/mlx_hub.inference.v1.InferenceService/{some()}")
            await hub.call(f"/{some()}/Generate")
    await journal.close()
    assert series() - before < 50
