"""Past answers of the real service: found again, true, and repeatable."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import psutil
import pytest
import pytest_asyncio
from google.api import httpbody_pb2
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import generation_record_pb2 as record_pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.openai.v1 import openai_service_pb2, openai_service_pb2_grpc

from services.chassis.status import from_rpc_error
from services.inference.__main__ import Inference
from services.inference.domain import Adapter
from services.inference.settings import InferenceSettings
from tests.fixtures.scripted_registry import ScriptedRegistry, failure, serving_registry

# One service and its one engine for all tests; the last one ends them.
pytestmark = pytest.mark.asyncio(loop_scope="module")
WILD = {
    "temperature": 1.4,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.001,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.4,
    "logit_bias": {70: 2.0},
    "max_tokens": 16,
}


class Served:
    """A service with a home of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.settings = InferenceSettings(
            home=home, registry_port=port, archive_setting=Path("/"), max_rows=4, drain_seconds=0
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Served"]:
        """Serve, for the first or another time."""
        inference = Inference(self.settings)
        port = await inference.server.start(0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            self.stub = pb_grpc.InferenceServiceStub(channel)
            self.openai = openai_service_pb2_grpc.OpenAIServiceStub(channel)
            yield self
        await inference.server.stop()
        await inference.close()

    async def why(self, generation_id: str) -> record_pb.GenerationRecord:
        return await self.stub.GetGeneration(
            record_pb.GetGenerationRequest(generation_id=generation_id)
        )

    async def ended(self, outcome: record_pb.GenerationOutcome.ValueType) -> str:
        """Wait until an answer has ended so, and give its id."""
        request = record_pb.ListGenerationsRequest(outcome=outcome)
        while not (found := await self.stub.ListGenerations(request)).generations:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return found.generations[0].generation_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(tiny_model: Path) -> AsyncIterator[ScriptedRegistry]:
    async with serving_registry(tiny_model) as registry:
        yield registry


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    registry: ScriptedRegistry, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    async with Served(tmp_path_factory.mktemp("home"), registry.port).running() as served:
        yield served


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_an_answer_is_repeated_from_its_record_among_other_rows(
    served: Served, registry: ScriptedRegistry, adapters: list[Adapter]
) -> None:
    registry.versions = {"1": adapters[0]}
    asked = pb.GenerateRequest(model_id=7, prompt="dice", version="1", **WILD)  # type: ignore[arg-type]
    first = await served.stub.Generate(asked)
    record = await served.why(first.generation_id)
    assert record.outcome == record_pb.GENERATION_OUTCOME_FINISHED
    assert record.provenance == first.provenance
    assert (record.tokens, record.prompt_tokens) == (first.tokens, first.prompt_tokens)
    assert (record.text_digest, record.prompt_digest) == (sha256(first.text), sha256("dice"))
    assert record.request.seed == first.sampling.seed
    assert record.lineage.dataset.digest == "d" * 64
    again = pb.GenerateRequest()
    again.CopyFrom(record.request)
    again.prompt = "dice"
    others = [pb.GenerateRequest(model_id=7, prompt=p, **WILD) for p in "xyz"]  # type: ignore[arg-type]
    repeated, *rest = await asyncio.gather(*map(served.stub.Generate, [again, *others]))
    assert sha256(repeated.text) == record.text_digest
    assert all(other.text != first.text for other in rest)
    assert (await served.why(repeated.generation_id)).request == record.request


async def test_an_openai_response_is_found_by_its_id(served: Served) -> None:
    messages = [{"role": "user", "content": "hi"}]
    chat = {"model": "bot", "messages": messages, "max_tokens": 4, "temperature": 0}
    body = httpbody_pb2.HttpBody(data=json.dumps(chat).encode())
    request = openai_service_pb2.CreateChatCompletionRequest(body=body)
    [reply] = [body async for body in served.openai.CreateChatCompletion(request)]
    answer = json.loads(reply.data)
    record = await served.why(answer["id"])
    assert record.text_digest == sha256(answer["choices"][0]["message"]["content"])
    assert (record.tokens, record.request.version) == (4, "base")
    assert record.lineage.base_model.name == "tiny"


async def test_one_who_left_is_told_with_the_tokens_made_so_far(served: Served) -> None:
    call = served.stub.StreamGenerate(
        pb.GenerateRequest(model_id=7, prompt="long", max_tokens=1900)
    )
    text = ""
    events = aiter(call)
    for _ in range(5):
        text += (await anext(events)).delta.text
    call.cancel()
    record = await served.why(await served.ended(record_pb.GENERATION_OUTCOME_CANCELLED))
    assert record.prompt_digest == sha256("long")
    assert len(text.encode()) <= record.text_bytes
    assert 5 <= record.tokens < 1900
    assert record.HasField("ended_at")


async def test_one_who_left_the_line_leaves_no_record(served: Served) -> None:
    asked = pb.GenerateRequest(model_id=7, prompt="ahead", max_tokens=1900)
    ahead = [served.stub.StreamGenerate(asked) for _ in range(served.settings.max_rows)]
    for call in ahead:
        await anext(aiter(call))
    late = served.stub.Generate(pb.GenerateRequest(model_id=7, prompt="late"))
    await asyncio.sleep(0.1)
    late.cancel()
    for call in ahead:
        call.cancel()
    await served.stub.Generate(pb.GenerateRequest(model_id=7, prompt="last", max_tokens=1))
    told = await served.stub.ListGenerations(record_pb.ListGenerationsRequest())
    digests = [record.prompt_digest for record in told.generations]
    assert digests[:5] == [sha256(word) for word in ("last", *["ahead"] * 4)]
    assert sha256("late") not in digests


async def test_what_a_killed_engine_left_unfinished_says_so_and_outlives_the_service(
    served: Served, registry: ScriptedRegistry
) -> None:
    engines = psutil.Process().children(recursive=True)
    [engine] = [child for child in engines if "services.inference.engine" in child.cmdline()]
    events = aiter(
        served.stub.StreamGenerate(pb.GenerateRequest(model_id=7, prompt="x", max_tokens=1900))
    )
    await anext(events)
    engine.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in events:
            pass
    error = from_rpc_error(caught.value, "inference")
    assert error.reason == "ENGINE_DIED"
    record = await served.why(error.metadata["generation_id"])
    assert record.outcome == record_pb.GENERATION_OUTCOME_FAILED
    assert (record.error_reason, record.finish_reason) == (
        "ENGINE_DIED",
        completion_pb.FINISH_REASON_UNSPECIFIED,
    )
    assert record.tokens >= 1
    asked = record_pb.ListGenerationsRequest(version=1)
    of_version = (await served.stub.ListGenerations(asked)).generations
    async with Served(served.settings.home, 1).running() as later:  # and without a registry
        assert await later.why(record.generation_id) == record
        traced = await later.why(of_version[0].generation_id)
        assert traced.lineage.dataset.digest == "d" * 64
        unknown = from_rpc_error(await failure(later.why("nobody")), "inference")
        assert (unknown.reason, unknown.metadata) == (
            "GENERATION_NOT_FOUND",
            {"generation_id": "nobody"},
        )
