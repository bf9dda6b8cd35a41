"""Several choices by a real engine: they share their prompt, and fail and end together."""

import asyncio
import json
import os
import signal
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2
from mlx_hub.inference.v1 import generation_record_pb2 as record_pb
from mlx_hub.openai.v1 import openai_service_pb2

from tests.fixtures.served import engines, until
from tests.integration.test_inference_service import Served, served

__all__ = ["served"]
LONG = "a beginning that all of these share, and that is long enough to be kept " * 2


def complete(served: Served, **fields: Any) -> Any:
    asked = {"model": "bot", "prompt": LONG, "max_tokens": 8, "temperature": 0.9, **fields}
    body = httpbody_pb2.HttpBody(data=json.dumps(asked).encode())
    return served.openai.CreateCompletion(openai_service_pb2.CreateCompletionRequest(body=body))


async def read(call: Any) -> tuple[list[bytes], grpc.StatusCode]:
    bodies: list[bytes] = []
    try:
        async for body in call:
            bodies.append(body.data)
    except grpc.aio.AioRpcError as error:
        return bodies, error.code()
    return bodies, grpc.StatusCode.OK


async def traced(served: Served, generation_id: str) -> record_pb.GenerationRecord:
    request = record_pb.GetGenerationRequest(generation_id=generation_id)
    found: record_pb.GenerationRecord = await served.stub.GetGeneration(request)
    return found


async def test_choices_read_their_prompt_once_and_are_recorded_by_name(served: Served) -> None:
    [body] = [body async for body in complete(served, n=3, seed=7)]
    reply = json.loads(body.data)
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert reply["usage"]["completion_tokens"] == 24
    names = (reply["id"], f"{reply['id']}-1", f"{reply['id']}-2")
    records = [await traced(served, name) for name in names]
    assert [record.request.seed for record in records] == [7, 8, 9]
    assert [record.cached_tokens > 100 for record in records] == [False, True, True]
    assert {record.prompt_tokens for record in records} == {reply["usage"]["prompt_tokens"]}


async def test_without_room_for_all_choices_none_is_given_and_no_row_is_kept(
    served: Served,
) -> None:
    call = complete(served, n=8, max_tokens=1500)
    [body] = [body async for body in call]
    assert json.loads(body.data)["error"]["code"] == "queue_full"
    assert dict(await call.initial_metadata())["x-http-code"] == "429"
    scheduler = served.inference.scheduler
    await until(lambda: scheduler.running + scheduler.waiting == 0, "free rows")
    stream = complete(served, n=2, max_tokens=1500, stream=True)
    async for body in stream:
        if b'"index": 1' in body.data:
            break
    assert scheduler.running == 2
    stream.cancel()
    await until(lambda: scheduler.running == 0, "free rows")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_broken_answer_names_its_generation(served: Served, stream: bool) -> None:
    call = complete(served, n=2, max_tokens=1500, stream=stream)
    reading = asyncio.ensure_future(read(call))
    await until(lambda: served.inference.scheduler.running == 2, "both choices")
    os.kill(engines()[0].pid, signal.SIGKILL)
    bodies, code = await reading
    assert code is (grpc.StatusCode.UNAVAILABLE if stream else grpc.StatusCode.OK)
    error = json.loads(bodies[-1].removeprefix(b"data: "))["error"]
    assert error["code"] == "engine_died"
    record = await traced(served, error["generation_id"])
    assert record.error_reason == "ENGINE_DIED"
