"""The training child as a process: it resumes exactly, stops at once, refuses what can't train."""

import errno
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.internal.v1 import worker_pb2 as pb

from tests.fixtures.rows import ROWS, chat
from tests.fixtures.worker import Child, Spawn


def finish(child: Child) -> tuple[int, pb.WorkerEvent]:
    """Read to the end; give the step it resumed from and the last event."""
    resumed, last = -1, pb.WorkerEvent()
    for event in child.events():
        resumed = event.started.resumed_from_step if event.HasField("started") else resumed
        last = event
    assert child.process.wait() == 0
    return resumed, last


def hashes(event: pb.WorkerEvent) -> dict[str, str]:
    assert event.WhichOneof("event") == "finished", event
    return {file.name: file.sha256 for file in event.finished.files}


def test_a_killed_run_ends_with_the_same_bytes(spawn_worker: Spawn, tmp_path: Path) -> None:
    fresh, straight = finish(spawn_worker(folder="straight"))
    killed = spawn_worker(folder="killed", hold=5)
    killed.until_step(5)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    resumed, ended = finish(spawn_worker(folder="killed"))
    assert (fresh, resumed) == (0, 4)
    assert hashes(ended) == hashes(straight)
    assert dict(ended.finished.metrics) == dict(straight.finished.metrics)
    kept = [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert sorted(kept) == ["step-00000008", "step-00000010"]


def test_a_stop_saves_the_step_it_stops_at(spawn_worker: Spawn) -> None:
    straight = finish(spawn_worker(folder="straight", checkpoint_every_steps=1000))[1]
    child = spawn_worker(folder="stopped", hold=3, checkpoint_every_steps=1000)
    child.until_step(3)
    child.stop(save=True)
    stopped = finish(child)[1].stopped.step
    resumed, ended = finish(spawn_worker(folder="stopped", checkpoint_every_steps=1000))
    assert resumed == stopped == 3
    assert hashes(ended) == hashes(straight)


def test_a_finished_run_is_not_trained_again(spawn_worker: Spawn, tmp_path: Path) -> None:
    first = finish(spawn_worker())[1]
    shutil.rmtree(tmp_path / "job" / "attempt-1")
    child = spawn_worker()
    kinds = [event.WhichOneof("event") for event in child.events()]
    assert kinds == ["started", "finished"]
    again = finish(spawn_worker())
    assert (again[0], hashes(again[1])) == (10, hashes(first))


def test_a_damaged_checkpoint_is_passed_over(spawn_worker: Spawn, tmp_path: Path) -> None:
    straight = finish(spawn_worker())[1]
    damaged = tmp_path / "job" / "checkpoints" / "step-00000010" / "adapters.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    resumed, ended = finish(spawn_worker())
    assert resumed == 8
    assert hashes(ended) == hashes(straight)


def test_a_damaged_checkpoint_takes_no_room_from_a_sound_one(
    spawn_worker: Spawn, tmp_path: Path
) -> None:
    """Only one is kept: were it the newest by its name, the run would lose its place."""
    kept = tmp_path / "job" / "checkpoints"
    recipe = {"checkpoints_kept": 1, "checkpoint_every_steps": 100}
    stopped = spawn_worker(hold=2, **recipe)
    stopped.until_step(2)
    stopped.stop(save=True)
    finish(stopped)
    (kept / "step-00000099").mkdir()
    again = spawn_worker(hold=4, **recipe)
    again.until_step(4)
    again.stop(save=True)
    assert finish(again)[1].stopped.step == 4
    assert [path.name for path in kept.iterdir()] == ["step-00000004"]


def test_a_checkpoint_ahead_of_the_log_is_passed_over(spawn_worker: Spawn) -> None:
    """The trainer died before it had written down what the worker reported last."""
    straight = finish(spawn_worker())[1]
    child = spawn_worker(recorded=9)
    told = [event.step.step.step for event in child.events() if event.HasField("step")]
    assert told == [9, 10]
    resumed, ended = finish(spawn_worker(recorded=10))
    assert (resumed, hashes(ended)) == (10, hashes(straight))


def test_a_checkpoint_of_another_recipe_is_passed_over(spawn_worker: Spawn) -> None:
    finish(spawn_worker())
    assert finish(spawn_worker(lora_scale=11))[0] == 0


def test_a_stop_before_the_start_trains_nothing(spawn_worker: Spawn, tmp_path: Path) -> None:
    child = spawn_worker()
    child.stop(save=False)
    kinds = [event.WhichOneof("event") for event in child.events()]
    assert "step" not in kinds
    assert kinds[-1] == "stopped"
    assert not (tmp_path / "job" / "attempt-1").exists()


def test_a_cancelled_run_leaves_nothing(spawn_worker: Spawn, tmp_path: Path) -> None:
    child = spawn_worker(epochs=1000, checkpoint_every_steps=1000)
    child.until_step(2)
    child.stop(save=False)
    events = list(child.events())
    assert events[-1].stopped.step == sum(event.HasField("step") for event in events) + 2
    assert not list((tmp_path / "job").glob("attempt-*"))
    assert not list((tmp_path / "job" / "checkpoints").iterdir())


def test_it_ends_with_its_supervisor(spawn_worker: Spawn) -> None:
    child = spawn_worker(epochs=1000)
    child.until_step(1)
    child.frames.close()
    child.process.wait(60)


LONG = chat("a" * 200, "b")
SILENT = {"messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    ("rows", "job", "words"),
    [
        ([*ROWS[:4], LONG, SILENT], {}, ["lines 5, 6", "max_seq_length"]),
        (ROWS, {"lora_layers": 3}, ["lora_layers is 3", "2 layers"]),
        (ROWS[:1], {"validation_fraction": 0.99}, ["validation_fraction"]),
        (ROWS, {"learning_rate": 1, "lora_scale": 1e30}, ["not finite at step", "learning_rate"]),
    ],
)
def test_what_cannot_train_is_refused(
    spawn_worker: Spawn, rows: list[dict[str, Any]], job: dict[str, Any], words: list[str]
) -> None:
    failed = finish(spawn_worker(rows, **job))[1].failed
    assert failed.reason == "UNTRAINABLE"
    assert [word for word in words if word not in failed.message] == []


def test_other_data_than_registered_are_refused(spawn_worker: Spawn) -> None:
    failed = finish(spawn_worker(dataset_digest="0" * 64))[1].failed
    assert failed.reason == "ARTIFACT_CORRUPT"


def test_mlx_lm_reads_the_adapter(spawn_worker: Spawn, tmp_path: Path, tiny_model: Path) -> None:
    finish(spawn_worker())
    script = (
        "import sys, mlx.core as mx\n"
        "from mlx_lm.utils import load\n"
        "tokens = mx.array([[5, 6, 7]])\n"
        "plain, _ = load(sys.argv[1])\n"
        "tuned, _ = load(sys.argv[1], adapter_path=sys.argv[2])\n"
        "assert mx.abs(plain(tokens) - tuned(tokens)).max().item() > 0.01\n"
    )
    adapter = tmp_path / "job" / "attempt-1"
    subprocess.run([sys.executable, "-c", script, str(tiny_model), str(adapter)], check=True)


FULL = Path("/dev/full")


def test_a_full_disk_is_told_from_a_crash(tmp_path: Path) -> None:
    """MLX raises a RuntimeError for it. Linux alone has a file that is always full."""
    full = tmp_path / "adapters.safetensors"
    full.symlink_to(FULL if FULL.exists() else tmp_path / "missing" / "file")
    script = (
        "import sys; from pathlib import Path\n"
        "from services.runtime.model import prepare; prepare()\n"
        "import mlx.core as mx\n"
        "from services.trainer.worker.checkpoint import save_arrays\n"
        "try: save_arrays(Path(sys.argv[1]), {'a': mx.ones((9999,))})\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(full)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == (errno.ENOSPC if FULL.exists() else errno.ENOENT)
