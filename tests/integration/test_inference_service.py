"""The inference service with all its interceptors, a scripted registry, and real engines."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mlx_hub.inference.v1 import cache_pb2 as cache_pb
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.openai.v1 import openai_service_pb2, openai_service_pb2_grpc
from prometheus_client import REGISTRY

from services.chassis.status import from_rpc_error
from services.inference.__main__ import Inference
from services.inference.domain import Adapter
from tests.fixtures.scripted_registry import ScriptedRegistry, failure
from tests.fixtures.served import engines, inference_of


class Served:
    """The service under test, and its stubs."""

    def __init__(self, inference: Inference, port: int) -> None:
        self.inference = inference
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub = pb_grpc.InferenceServiceStub(self.channel)
        self.openai = openai_service_pb2_grpc.OpenAIServiceStub(self.channel)

    async def fill_up(self) -> list[Any]:
        """Take both rows and the one place in the line."""
        calls = [self.stub.StreamGenerate(ask(max_tokens=1900)) for _ in range(2)]
        for call in calls:
            await anext(aiter(call))
        calls.append(self.stub.StreamGenerate(ask(max_tokens=1900)))
        while not self.inference.scheduler.waiting:  # noqa: ASYNC110 (another side's state)
            await asyncio.sleep(0.01)
        return calls

    def start_chat(self, **fields: Any) -> Any:
        messages = [{"role": "user", "content": "hi"}]
        chat = {"model": "bot", "messages": messages, "max_tokens": 8, "temperature": 0, **fields}
        body = httpbody_pb2.HttpBody(data=json.dumps(chat).encode())
        request = openai_service_pb2.CreateChatCompletionRequest(body=body)
        return self.openai.CreateChatCompletion(request)

    async def chat(self, **fields: Any) -> tuple[dict[str, str], list[httpbody_pb2.HttpBody]]:
        call = self.start_chat(**fields)
        bodies = [body async for body in call]
        headers = {key: str(value) for key, value in await call.initial_metadata()}
        return headers, bodies


def ask(prompt: str = "hello", **fields: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(**{"model_id": 7, "prompt": prompt, "max_tokens": 8, **fields})


@pytest.fixture
async def served(scripted_registry: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[Served]:
    inference = inference_of(scripted_registry, tmp_path, max_rows=2, queue_limit=1)
    port = await inference.server.start(0)
    await inference.server.set_serving(True)
    served = Served(inference, port)
    yield served
    await served.channel.close()
    await inference.server.stop()
    await inference.close()
    assert engines() == []


async def test_the_same_answer_at_once_and_as_it_is_made(
    served: Served, scripted_registry: ScriptedRegistry, adapters: list[Adapter]
) -> None:
    scripted_registry.versions = {"1": adapters[0]}
    before = counted()
    whole = await served.stub.Generate(ask())
    assert (whole.tokens, whole.finish_reason) == (8, completion_pb.FINISH_REASON_LENGTH)
    assert (whole.provenance.model_name, whole.provenance.version) == ("bot", 0)
    assert whole.provenance.base_digest == scripted_registry.digest
    assert 0 < whole.engine_ttft_ms <= whole.ttft_ms <= whole.latency_ms
    events = [event async for event in served.stub.StreamGenerate(ask())]
    assert [e.WhichOneof("event") for e in events[-2:]] == ["delta", "completion"]
    assert "".join(e.delta.text for e in events) == events[-1].completion.text == whole.text
    version = await served.stub.Generate(ask(version="1"))
    assert version.text != whole.text
    listed = await served.openai.ListServedModels(openai_service_pb2.ListServedModelsRequest())
    names = [model["id"] for model in json.loads(listed.data)["data"]]
    assert names == ["bot", "bot:base", "bot:1", "bot@alias-1"]
    assert version.provenance.adapter_digest == adapters[0].digest
    assert version.provenance.dataset_digest == "d" * 64
    # As the service is set, and as a request says.
    loop: dict[str, Any] = {"prompt": "la la la la la la", "max_tokens": 120}
    drafted = await served.stub.Generate(ask(**loop))
    assert drafted.drafted_tokens
    told = sum(c.drafted_tokens for c in (whole, events[-1].completion, drafted))
    base = {"model_id": "7", "version": "0"}
    assert REGISTRY.get_sample_value("mlx_hub_inference_drafted_tokens_total", base) == told
    assert not (await served.stub.Generate(ask(**loop, drafting=False))).drafted_tokens
    asked = scripted_registry.asked
    await served.stub.Generate(ask(version="1"))
    assert scripted_registry.asked == asked
    answers, tokens = counted()
    assert (answers, tokens) == (before[0] + 2, before[1] + 16)


def counted() -> tuple[float, float]:
    """Give the answers of version 1 and their tokens, as this process has counted them."""
    names = ("ttft_seconds_count", "generated_tokens_total")
    labels = {"model_id": "7", "version": "1"}
    answers, tokens = (
        REGISTRY.get_sample_value(f"mlx_hub_inference_{name}", labels) or 0.0 for name in names
    )
    return answers, tokens


async def test_errors_before_the_first_frame_are_plain_statuses(served: Served) -> None:
    unknown = await failure(served.stub.Generate(ask(model_id=8)))
    assert from_rpc_error(unknown, "inference").reason == "MODEL_NOT_FOUND"
    long = await failure(served.stub.Generate(ask("x" * 3000)))
    error = from_rpc_error(long, "inference")
    assert (error.reason, error.metadata["context"]) == ("PROMPT_TOO_LONG", "2048")
    events: list[pb.GenerateEvent] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for event in served.stub.StreamGenerate(ask(max_tokens=3000)):
            events.append(event)
    assert events == []
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_engine_killed_in_mid_stream_ends_it_with_an_error_frame_and_returns(
    served: Served,
) -> None:
    events: list[pb.GenerateEvent] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for event in served.stub.StreamGenerate(ask(max_tokens=1900)):
            if event.HasField("loading"):
                continue
            events.append(event)
            if len(events) == 3:
                os.kill(engines()[0].pid, signal.SIGKILL)
    assert events[-1].WhichOneof("event") == "error"
    assert events[-1].error.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert from_rpc_error(caught.value, "inference").reason == "ENGINE_DIED"
    health: Any = health_pb2_grpc.HealthStub(served.channel)
    service = "mlx_hub.inference.v1.InferenceService"
    reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert (await served.stub.Generate(ask())).tokens == 8
    assert len(engines()) == 1
    ends = REGISTRY.get_sample_value("mlx_hub_engine_ends_total", {"base_model": "tiny"})
    assert ends
    assert ends >= 1


async def test_one_who_leaves_and_one_whose_time_is_up_free_their_rows(served: Served) -> None:
    left = served.stub.StreamGenerate(ask(max_tokens=1900))
    async for _ in left:
        break
    late = served.stub.StreamGenerate(ask(max_tokens=1900), timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in late:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    left.cancel()
    results = await asyncio.gather(*(served.stub.Generate(ask()) for _ in range(2)))
    assert [r.tokens for r in results] == [8, 8]
    assert served.inference.scheduler.running == 0


async def test_a_full_line_says_when_to_come_back(
    served: Served, scripted_registry: ScriptedRegistry
) -> None:
    calls = await served.fill_up()
    asked = scripted_registry.asked
    error = from_rpc_error(await failure(served.stub.Generate(ask())), "inference")
    assert (error.reason, error.metadata) == ("QUEUE_FULL", {"queue_limit": "1"})
    assert scripted_registry.asked == asked, "a refusal costs the registry nothing"
    for call in calls:
        call.cancel()


async def test_a_draining_service_takes_nothing_new(served: Served) -> None:
    call = served.stub.StreamGenerate(ask(max_tokens=40))
    events = aiter(call)
    while not (await anext(events)).HasField("delta"):
        pass
    await served.inference.drain()
    error = from_rpc_error(await failure(served.stub.Generate(ask())), "inference")
    assert error.reason == "SHUTTING_DOWN"
    rest = [event async for event in events]
    assert rest[-1].completion.tokens == 40


async def test_openai_chats_are_answered_whole_and_streamed(served: Served) -> None:
    listed = await served.openai.ListServedModels(openai_service_pb2.ListServedModelsRequest())
    assert [m["id"] for m in json.loads(listed.data)["data"]] == ["bot", "bot:base"]
    _, [whole] = await served.chat()
    assert whole.content_type == "application/json"
    text = json.loads(whole.data)["choices"][0]["message"]["content"]
    _, events = await served.chat(stream=True, stream_options={"include_usage": True})
    assert {e.content_type for e in events} == {"text/event-stream"}
    assert events[-1].data == b"data: [DONE]\n\n"
    chunks = [json.loads(e.data.removeprefix(b"data: ")) for e in events[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = (c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert "".join(said) == text
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 8
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    _, [held] = await served.chat(response_format=form, max_tokens=200, logit_bias={"47": -100})
    [choice] = json.loads(held.data)["choices"]
    assert json.loads(choice["message"]["content"])["ok"] in (True, False)
    assert choice["finish_reason"] == "stop"
    tools = [{"type": "function", "function": {"name": "f"}}]
    headers, [refused] = await served.chat(tools=tools)
    error = json.loads(refused.data)["error"]
    assert headers["x-http-code"] == "400"
    assert (error["code"], error["param"]) == ("tools_unsupported", "tools")


async def test_openai_errors_take_openais_shape_and_status(served: Served) -> None:
    headers, [body] = await served.chat(model="nobody")
    assert headers["x-http-code"] == "404"
    assert json.loads(body.data)["error"]["code"] == "model_not_found"
    headers, [body] = await served.chat(tools=[])
    assert headers["x-http-code"] == "400"
    assert json.loads(body.data)["error"]["param"] == "tools"
    calls = await served.fill_up()
    headers, [body] = await served.chat(stream=True)
    assert headers["x-http-code"] == "429"
    assert int(headers["retry-after"]) >= 1
    for call in calls:
        call.cancel()


async def test_a_dead_engine_ends_an_openai_stream_with_an_error_event(served: Served) -> None:
    bodies: list[httpbody_pb2.HttpBody] = []
    with pytest.raises(grpc.aio.AioRpcError):
        async for body in served.start_chat(stream=True, max_tokens=1900):
            if body.data.startswith(b":"):
                continue  # it still loads
            bodies.append(body)
            if len(bodies) == 2:
                os.kill(engines()[0].pid, signal.SIGKILL)
    error = json.loads(bodies[-1].data.removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "engine_died")


async def test_every_surface_tells_the_cached_tokens_and_one_clears_them(served: Served) -> None:
    long = ask("a beginning that all of these share, and that is long enough to be kept " * 2)
    assert (await served.stub.Generate(long)).cached_tokens == 0
    assert (await served.stub.Generate(long)).cached_tokens > 100
    *_, last = [event async for event in served.stub.StreamGenerate(long)]
    assert last.completion.cached_tokens > 100
    turns = [{"role": "user", "content": long.prompt}]
    await served.chat(messages=turns)
    _, (whole,) = await served.chat(messages=turns)
    _, pieces = await served.chat(
        messages=turns, stream=True, stream_options={"include_usage": True}
    )
    usages = [whole.data, pieces[-2].data.removeprefix(b"data: ")]
    for usage in (json.loads(data)["usage"] for data in usages):
        assert usage["prompt_tokens_details"]["cached_tokens"] > 100
    labels = {"model_id": "7", "version": "0", "result": "hit"}
    assert (REGISTRY.get_sample_value("mlx_hub_inference_cache_lookups_total", labels) or 0) >= 4
    stats = await served.stub.GetCacheStats(cache_pb.GetCacheStatsRequest())
    assert [engine.base_model for engine in stats.engines] == ["tiny"]
    assert stats.engines[0].limit_bytes == 512 * 1024**2
    cleared = await served.stub.ClearCache(cache_pb.ClearCacheRequest(model_id=7))
    assert cleared.blocks > 4
    assert (await served.stub.Generate(long)).cached_tokens == 0
    unknown = await failure(served.stub.ClearCache(cache_pb.ClearCacheRequest(model_id=8)))
    assert from_rpc_error(unknown, "inference").reason == "MODEL_NOT_FOUND"
