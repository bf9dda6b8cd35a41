"""Children are killed while they work; the hub says so, recovers, and loses nothing."""

import json
from typing import Any

import psutil
import pytest

from tests.e2e.rest import call, eventually, frames
from tests.fixtures.stack import RunningStack


def child(stack: RunningStack, module: str) -> psutil.Process | None:
    """Find a child process of the stack by the module it runs."""
    for process in psutil.Process(stack.pid).children(recursive=True):
        try:
            if module in process.cmdline():
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return None


@pytest.fixture(scope="module")
def model_id(stack: RunningStack) -> int:
    """Register a model for this file."""
    reply = call(f"{stack.url}/models", {"name": "faults", "base_model": stack.base_model})
    assert reply.status == 201
    return int(reply.json["id"])


def test_a_killed_engine_ends_the_stream_with_an_error_and_comes_back(
    stack: RunningStack, model_id: int
) -> None:
    body = {"model_id": model_id, "prompt": "Count: one, two, three,", "max_tokens": 300}
    last: dict[str, Any] = {}
    streamed = (event for _, event in frames(f"{stack.url}/inference/stream", body))
    for number, event in enumerate(event for event in streamed if "loading" not in event):
        last = event
        if number == 2:
            engine = child(stack, "services.inference.engine")
            assert engine
            engine.kill()
    info = last["error"]["details"][0]
    assert info["reason"] == "ENGINE_DIED"
    broken = call(f"{stack.url}/inference/generations/{info['metadata']['generation_id']}").json
    assert (broken["outcome"], broken["error_reason"]) == (
        "GENERATION_OUTCOME_FAILED",
        "ENGINE_DIED",
    )
    eventually(lambda: call(f"{stack.url}/health").status == 200)
    again = call(f"{stack.url}/inference", {**body, "max_tokens": 4})
    assert again.status == 200, again.text
    assert again.json["tokens"] == 4


def test_a_killed_training_child_resumes_from_its_checkpoint(
    stack: RunningStack, model_id: int
) -> None:
    rows = [json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) for n in range(40)]
    stack.dataset_root.mkdir(parents=True, exist_ok=True)
    (stack.dataset_root / "faults.jsonl").write_text("\n".join(rows) + "\n")
    dataset = call(f"{stack.url}/datasets", {"name": "faults", "path": "faults.jsonl"}).json
    payload = {
        "model_id": model_id,
        "dataset_id": dataset["id"],
        "lora_rank": 2,
        "batch_size": 2,
        "checkpoint_every_steps": 3,
        "validation_fraction": 0,
    }
    job = call(f"{stack.url}/training/jobs", payload).json
    killed = False
    steps: list[int] = []
    url = f"{stack.url}/training/jobs/{job['id']}/events?after_sequence=0"
    for _, event in frames(url, timeout=300):
        last = event
        if "step" in event:
            steps.append(event["step"]["step"])
        if "checkpoint" in event and not killed:
            worker = child(stack, "services.trainer.worker")
            assert worker
            worker.kill()
            killed = True
    assert killed
    assert last["job"]["status"] == "JOB_STATUS_COMPLETED", last
    assert last["job"]["attempt"] == 2
    assert steps[-1] == last["job"]["progress"]["total_steps"]
    assert len(steps) < 2 * steps[-1], "it started over instead of resuming"
