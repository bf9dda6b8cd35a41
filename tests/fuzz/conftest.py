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


@pytest.fixture(scope="module")
def target(tiny_model: Path) -> Iterator[Target]:
    """Run a stack with the tiny model, some models, datasets, and a version."""
    with running_stack() as stack:
        imported = stack.mlx_hub("models", "import", str(tiny_model), "--name", BASE)
        assert imported.returncode == 0, imported.stderr
        with grpc.insecure_channel(f"127.0.0.1:{stack.port}") as channel:
            yield Target(stack, channel, _fill(stack))


def _fill(stack: RunningStack) -> Pool:
    models = [post(stack, "/models", {"name": f"m{n}", "base_model": BASE}) for n in range(MODELS)]
    rows = [json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) for n in range(8)]
    stack.dataset_root.mkdir(parents=True, exist_ok=True)
    (stack.dataset_root / "rows.jsonl").write_text("\n".join(rows) + "\n")
    datasets = [post(stack, "/datasets", {"name": f"d{n}", "path": "rows.jsonl"}) for n in range(3)]
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
        "name": ["m0", "d0", "new-one"],
        "metric": ["val_loss", "loss"],
        "request_id": ["again"],
        "content": ["Hello."],
        "prompt": ["Hello."],
    }
