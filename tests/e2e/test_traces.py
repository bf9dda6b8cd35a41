"""One request from the door to the engine: one trace, one access line each, no word of its own."""

import json
import secrets
from typing import Any

import grpc
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc

from tests.e2e.rest import call, eventually
from tests.fixtures.otlp import Receiver, Told
from tests.fixtures.stack import RunningStack

MARK = f"marker{secrets.token_hex(8)}"
KEY = f"key{secrets.token_hex(8)}"
GENERATE = "mlx_hub.inference.v1.InferenceService/Generate"
RESOLVE = "mlx_hub.registry.v1.RegistryService/ResolveModel"


@pytest.fixture(scope="module")
def model_id(stack: RunningStack) -> int:
    body = {"name": "traced", "base_model": stack.base_model}
    return int(call(f"{stack.url}/models", body).json["id"])


def ask(stack: RunningStack, model_id: int, trace_id: str, identifier: str) -> Any:
    """Ask by REST, with a marker where prompts and keys go."""
    body = {"model_id": model_id, "version": "base", "prompt": f"Say {MARK}.", "max_tokens": 8}
    headers = {
        "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
        "x-request-id": identifier,
        "authorization": f"Bearer {KEY}",
        "x-mlx-hub-caller": "tester",
    }
    reply = call(f"{stack.url}/inference", body, headers=headers)
    assert (reply.status, reply.headers["x-request-id"]) == (200, identifier)
    return reply.json


def logged(stack: RunningStack, identifier: str) -> list[dict[str, Any]]:
    lines = [
        line
        for log in (stack.home / "logs").glob("*.log")
        for line in log.read_text().splitlines()
        if line.startswith("{") and identifier in line
    ]
    return [json.loads(line) for line in lines]


def test_one_trace_and_one_line_each_from_the_door_to_the_engine(
    stack: RunningStack, model_id: int, collector: Receiver
) -> None:
    trace_id, identifier = secrets.token_hex(16), f"r-{secrets.token_hex(8)}"
    answer = ask(stack, model_id, trace_id, identifier)
    operation = "text_completion traced"
    wanted = {"gateway", GENERATE, "decode", operation, RESOLVE}
    spans = collector.trace(trace_id, wanted.issubset)
    by_id = {span.span_id: span for span in spans}
    paths = {(s.name, by_id[s.parent_id].name) for s in spans if s.parent_id in by_id}
    phases = ["queue", "load", "prepare", "prefill", "decode"]
    assert paths == {
        (GENERATE, "gateway"),
        (RESOLVE, GENERATE),
        (RESOLVE, RESOLVE),
        (operation, GENERATE),
        *((phase, operation) for phase in phases),
    }
    [root] = [span for span in spans if span.parent_id not in by_id]
    assert (root.name, root.parent_id) == ("gateway", "00f067aa0ba902b7")
    services = {"mlx-hub-gateway", "mlx-hub-inference", "mlx-hub-registry"}
    assert {span.service for span in spans} == services
    check_answer(spans, operation, phases, answer)
    check_lines(stack, identifier, trace_id, answer)


def check_answer(spans: list[Told], operation: str, phases: list[str], answer: Any) -> None:
    named = {span.name: span for span in spans}
    facts = named[operation].attributes
    assert facts["gen_ai.operation.name"] == "text_completion"
    assert facts["gen_ai.usage.input_tokens"] == answer["prompt_tokens"]
    assert facts["gen_ai.usage.output_tokens"] == answer["tokens"]
    assert facts["gen_ai.response.finish_reasons"]
    assert 0 < facts["gen_ai.server.time_to_first_token"] < 120
    times = [(named[phase].begun, named[phase].ended) for phase in phases]
    assert times == sorted(times), "one after the other"


def check_lines(stack: RunningStack, identifier: str, trace_id: str, answer: Any) -> None:
    def both() -> list[dict[str, Any]]:
        found = logged(stack, identifier)
        return found if {line["service"] for line in found} >= {"gateway", "inference"} else []

    lines = eventually(both)
    assert {line["trace_id"] for line in lines} == {trace_id}
    [ours] = [line for line in lines if line["service"] == "inference"]
    assert (ours["logger"], ours["code"], ours["caller"]) == ("mlx_hub.access", "OK", "tester")
    assert (ours["tokens_in"], ours["tokens_out"]) == (answer["prompt_tokens"], answer["tokens"])
    assert len([line for line in lines if line["service"] == "gateway"]) == 1


async def test_no_log_holds_a_prompt_or_a_key(
    stack: RunningStack, model_id: int, collector: Receiver
) -> None:
    ask(stack, model_id, secrets.token_hex(16), "r-marked")
    call(f"{stack.url}/models?tag={MARK}", headers={"x-api-key": KEY})
    call(f"{stack.url}/inference", {"model_id": 999999, "prompt": MARK})
    call(f"{stack.url}/inference", {"prompt": MARK, MARK: 1})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.port}") as channel:
        stub = pb_grpc.InferenceServiceStub(channel)
        request = pb.GenerateRequest(model_id=model_id, version="base", prompt=MARK, max_tokens=4)
        sent = (("authorization", f"Bearer {KEY}"), ("x-request-id", "r-g"))
        done = stub.Generate(request, metadata=sent)
        await done
        told = {**dict(await done.initial_metadata()), **dict(await done.trailing_metadata())}
        assert told["x-request-id"] == "r-g"
    eventually(lambda: logged(stack, "r-g"))
    for log in (stack.home / "logs").rglob("*"):
        if log.is_file():
            text = log.read_text(errors="replace")
            assert MARK not in text, log.name
            assert KEY not in text, log.name
    assert not [raw for raw in collector.raw if MARK.encode() in raw or KEY.encode() in raw]
