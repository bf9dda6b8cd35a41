"""The inference service alone, over gRPC, beside a registry that knows a few base models."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_hub.inference.v1 import completion_pb2, generation_pb2

from bench.inference import prompts
from tests.fixtures.scripted_registry import MODEL, serving_registry
from tests.fixtures.served import serving


@asynccontextmanager
async def served(
    folder: Path, others: Sequence[Path] = (), **settings: Any
) -> AsyncIterator["Service"]:
    """Serve a base model, named `tiny` whatever its size; others are named as their folders.

    `settings` are the service's, by their field.
    """
    home = folder.with_name("home")
    home.mkdir(exist_ok=True)
    async with serving_registry(folder) as registry:
        registry.others = {other.name: other for other in others}
        async with serving(registry, home, **settings) as (_, stub):
            yield Service(stub)


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
            model_id=MODEL.id, prompt=prompts.long(prompt), max_tokens=tokens, cache_prompt=False,
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
