"""Every method and optimizer: killed and resumed in a new process, the bytes are the same."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.internal.v1 import worker_pb2 as pb

from tests.fixtures.worker import Child, Spawn

# Each of the choices at least once, those that carry a state beside others that do.
RECIPES: dict[str, dict[str, Any]] = {
    "lora with dropout": {"lora_dropout": 0.3, "weight_decay": 0.1, "warmup_steps": 2},
    "qlora": {
        "quantize_bits": 4,
        "optimizer": "TRAINING_OPTIMIZER_LION",
        "schedule": "TRAINING_SCHEDULE_COSINE",
        "warmup_steps": 3,
        "grad_clip": 0.5,
    },
    "dora": {
        "method": "TRAINING_METHOD_DORA",
        "optimizer": "TRAINING_OPTIMIZER_ADAFACTOR",
        "schedule": "TRAINING_SCHEDULE_LINEAR",
        "batch_size": 2,
        "grad_accumulation": 2,
    },
    "full": {
        "method": "TRAINING_METHOD_FULL",
        "optimizer": "TRAINING_OPTIMIZER_SGD",
        "lora_layers": 1,
        "learning_rate": 0.01,
    },
    "checkpointed lora": {
        "optimizer": "TRAINING_OPTIMIZER_ADAM",
        "weight_decay": 0,
        "grad_checkpoint": True,
        "target_keys": ["q_proj", "v_proj"],
    },
}
# mlx-lm itself puts the result on the base model.
LOAD = (
    "import sys, mlx.core as mx\n"
    "from mlx_lm.utils import load\n"
    "tokens = mx.array([[5, 6, 7]])\n"
    "plain, _ = load(sys.argv[1])\n"
    "tuned, _ = load(sys.argv[1], adapter_path=sys.argv[2])\n"
    "assert mx.abs(plain(tokens) - tuned(tokens)).max().item() > 0.01\n"
)


def end(child: Child) -> pb.WorkerEvent:
    """Read to the end."""
    *_, last = child.events()
    return last


def outcome(event: pb.WorkerEvent) -> tuple[dict[str, str], dict[str, float]]:
    """Give the files' hashes and the metrics."""
    assert event.WhichOneof("event") == "finished", event
    hashes = {file.name: file.sha256 for file in event.finished.files}
    return hashes, dict(event.finished.metrics)


@pytest.mark.parametrize("name", RECIPES)
def test_killed_and_resumed_is_never_interrupted(
    spawn_worker: Spawn, tmp_path: Path, tiny_model: Path, name: str
) -> None:
    recipe = RECIPES[name]
    one, other = (spawn_worker(folder=folder, **recipe) for folder in ("one", "other"))
    straight = outcome(end(one))
    assert outcome(end(other)) == straight

    killed = spawn_worker(folder="killed", hold=5, **recipe)
    killed.until_step(5)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    resumed = spawn_worker(folder="killed", **recipe)
    first = next(resumed.events())
    assert first.started.resumed_from_step in (4, 5)
    assert outcome(end(resumed)) == straight

    adapter = tmp_path / "one" / "attempt-1"
    subprocess.run([sys.executable, "-c", LOAD, str(tiny_model), str(adapter)], check=True)


def test_a_resumed_run_computes_by_as_many_threads_as_it_began_with(spawn_worker: Spawn) -> None:
    """With some kernels the last bits of a product depend on them; the child's own number is 1."""
    recipe = {"epochs": 4, "lora_dropout": 0.3}
    straight = spawn_worker(folder="straight", blas_threads=2, **recipe)
    first, *_, last = straight.events()
    assert first.started.environment["blas_threads"] == "2"

    killed = spawn_worker(folder="killed", hold=5, blas_threads=2, **recipe)
    killed.until_step(5)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    resumed = spawn_worker(folder="killed", **recipe)
    first = next(resumed.events())
    assert first.started.resumed_from_step == 4
    assert first.started.environment["blas_threads"] == "2"
    assert outcome(end(resumed)) == outcome(last)
