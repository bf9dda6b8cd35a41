"""The real stack answers as its OpenAPI document says, whatever it is sent.

`MLX_HUB_FUZZ_CASES` sets how many requests each call gets of each kind. Unset, it gets the same few
each time.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.rest import call, frames
from tests.fixtures.stack import RunningStack, running_stack

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "gateway/openapi.json").read_text()
)
CASES = os.environ.get("MLX_HUB_FUZZ_CASES")
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Words that only a trace, a path or an exception's own text would bring.
LEAK = re.compile(
    r"Traceback|\.py\b|site-packages|/home/|/tmp/|Error:|Exception|psycopg|sqlalchemy"
)
# What leaves work behind comes after what it could slow down, and what deletes at the very end.
LAST = (
    "CreateTrainingJob",
    "RetryTrainingJob",
    "ReplayTrainingJob",
    "DeleteModel",
    "DeleteDataset",
)
EMPTY = {"GetStorageReport", "ReconcileStorage", "GetCacheStats", "ListEngines"}
EMPTY |= {"ListServedModels", "GetHealth", "GetMetrics"}
EMPTY |= {"GetServedModel"}  # any text may be a name
KNOWN: dict[str, list[Any]] = {
    "model_id": [1],
    "dataset_id": [1],
    "job_id": [1],
    "evaluation_id": [1, 2],
    "version": ["latest", "1", "base", "champion"],
    "alias": ["champion"],
    "model": ["support-bot", "support-bot:1", "support-bot:base"],
    "base_model": ["tiny"],
    "path": ["rows.jsonl"],
    "name": ["adapters.safetensors"],
}


def operations() -> list[Any]:
    """List the calls in the order in which they are tried."""
    schema: Any = schemathesis.openapi.from_dict(DOCUMENT)
    found = [each.ok() for each in schema.get_all_operations()]
    found.sort(key=lambda each: LAST.index(name_of(each)) if name_of(each) in LAST else -1)
    return [pytest.param(each, id=name_of(each)) for each in found]


def name_of(operation: Any) -> str:
    """Give the rpc's name."""
    return str(operation.definition.raw["operationId"])


@schemathesis.serializer("application/x-ndjson")
def as_it_is(context: Any, value: Any) -> bytes:
    """Send a raw body as it is."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def hub(tiny_model: Path) -> Iterator[RunningStack]:
    """Run a stack of its own, with the tiny model and one trained version of it."""
    with running_stack(str(tiny_model), "--name", "tiny") as stack:
        rows = [{"prompt": f"Number {n}?", "completion": f"It is {n}."} for n in range(12)]
        stack.dataset_root.mkdir(parents=True, exist_ok=True)
        (stack.dataset_root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        made = (
            ("models", {"name": "support-bot", "base_model": "tiny"}),
            ("datasets", {"name": "rows", "path": "rows.jsonl"}),
            ("training/jobs", {"model_id": 1, "dataset_id": 1, "test_fraction": 0.2}),
        )
        for path, body in made:
            reply = call(f"{stack.url}/{path}", body)
            assert (reply.status, reply.json["id"]) == (201, 1), reply.text
        *_, (_, last) = frames(f"{stack.url}/training/jobs/1/events?after_sequence=0", timeout=120)
        assert last["job"]["status"] == "JOB_STATUS_COMPLETED", last
        yield stack


def send(hub: RunningStack, case: Any) -> Any:
    """Send one request and hold the answer to the document."""
    reply = case.call(base_url=hub.url, timeout=60)
    text = reply.content.decode(errors="replace")  # a file's bytes may be anything
    assert reply.status_code < 500 or reply.status_code == 503, text
    assert not LEAK.search(text), text
    case.validate_response(reply, checks=CHECKS)
    return reply


def tried(operation: Any, mode: GenerationMode, check: Callable[[Any, Any], None]) -> None:
    """Try a call with generated requests."""
    limits = settings(
        max_examples=int(CASES or 8),
        derandomize=CASES is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    limits(given(operation.as_strategy(mode), st.data())(check))()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("CreateChatCompletion", {"messages": [{"role": "user", "content": "Number 1?"}]}),
        ("CreateCompletion", {"prompt": "Number 1?"}),
    ],
)
def test_a_stream_ends_as_the_document_says(
    name: str, asked: dict[str, Any], hub: RunningStack
) -> None:
    [operation] = [each.values[0] for each in operations() if each.id == name]
    body = {"model": "support-bot:base", "stream": True, "max_tokens": 4, **asked}
    reply = send(hub, operation.Case(body=body))
    assert reply.content.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("operation", operations())
def test_what_the_document_allows_gets_an_answer_that_it_describes(
    operation: Any, hub: RunningStack
) -> None:
    def check(case: Any, data: Any) -> None:
        if name_of(operation) not in LAST[-2:]:
            know(case, data)
        send(hub, case)

    tried(operation, GenerationMode.POSITIVE, check)


@pytest.mark.parametrize("operation", operations())
def test_what_the_document_forbids_is_refused(operation: Any, hub: RunningStack) -> None:
    def check(case: Any, _: Any) -> None:
        reply = send(hub, case)
        if reply.status_code < 400:  # too large is refused, too
            case.validate_response(reply, checks=[negative_data_rejection])

    if name_of(operation) not in EMPTY:
        tried(operation, GenerationMode.NEGATIVE, check)


def know(case: Any, data: Any) -> None:
    """Let a request speak of what is there, half of the time, so that it gets past the door."""
    if not data.draw(st.booleans(), label="speaks of what is there"):
        return
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            for key in part.keys() & KNOWN.keys():
                part[key] = data.draw(st.sampled_from(KNOWN[key]), label=key)
    if isinstance(case.body, dict) and "Generate" in name_of(case.operation):
        case.body["max_tokens"] = 8
        case.body.pop("prompt" if case.body.get("messages") else "messages", None)
        if "messages" not in case.body:
            case.body["prompt"] = case.body.get("prompt") or "Number"
