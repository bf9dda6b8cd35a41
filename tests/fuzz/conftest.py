"""The stack that is fuzzed, with something of everything in it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.e2e.rest import call, eventually
from tests.fixtures.stack import RunningStack, running_stack
from tests.fuzz.values import Pool

BASE = "tiny"
MODELS = 6


@dataclass(frozen=True)
class Target:
    """A running stack, a channel to its gateway, and what its requests can name."""

    stack: RunningStack
    channel: grpc.Channel
    pool: Pool


def post(stack: RunningStack, path: str, body: object) -> int:
    """Create something over REST and give its id."""
    reply = call(f"{stack.url}{path}", body)
    assert reply.status == 201, reply.text
    return int(reply.json["id"])


@pytest.fixture(scope="session")
def tiny_stack(tiny_model: Path) -> Iterator[RunningStack]:
    """Run a stack with the tiny model."""
    with running_stack(str(tiny_model), "--name", BASE) as stack:
        yield stack


@pytest.fixture(scope="module")
def target(tiny_stack: RunningStack, request: pytest.FixtureRequest) -> Iterator[Target]:
    """Give a module some models, datasets, and a version of its own: those before it delete."""
    with grpc.insecure_channel(f"127.0.0.1:{tiny_stack.port}") as channel:
        prefix = request.module.__name__.rpartition("_")[2]
        yield Target(tiny_stack, channel, _fill(tiny_stack, prefix))


def _fill(stack: RunningStack, prefix: str) -> Pool:
    named = [{"name": f"{prefix}-m{n}", "base_model": BASE} for n in range(MODELS)]
    models = [post(stack, "/models", each) for each in named]
    rows = [json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) for n in range(8)]
    stack.dataset_root.mkdir(parents=True, exist_ok=True)
    (stack.dataset_root / "rows.jsonl").write_text("\n".join(rows) + "\n")
    files = [{"name": f"{prefix}-d{n}", "path": "rows.jsonl"} for n in range(3)]
    datasets = [post(stack, "/datasets", each) for each in files]
    recipe = {"model_id": models[0], "dataset_id": datasets[0], "lora_rank": 2, "batch_size": 2}
    job = post(stack, "/training/jobs", recipe)
    url = f"{stack.url}/training/jobs/{job}"
    done = eventually(
        lambda: (
            (s := call(url).json)["status"] not in {"JOB_STATUS_QUEUED", "JOB_STATUS_RUNNING"} and s
        )
    )
    assert done["status"] == "JOB_STATUS_COMPLETED", done
    return {
        "model_id": [*models, *models, 2**31 - 1],
        "dataset_id": [*datasets, 2**31 - 1],
        "job_id": [job, job + 1, 2**31 - 1],
        "evaluation_id": [1, 2],
        "version": ["1", "1", "latest", "base", "champion", "2"],
        "alias": ["champion", "challenger", "latest"],
        "base_model": [BASE],
        "path": ["rows.jsonl"],
        "name": [f"{prefix}-m0", f"{prefix}-d0", "new-one", "adapters.safetensors"],
        "metric": ["val_loss", "loss"],
        "request_id": ["again"],
        "content": ["Hello."],
        "prompt": ["Hello."],
    }
