"""Checkpoints and an export, struck at each write: `python -m tests.faults.checkpoint_runs`.

Each run is a process of its own, forked before MLX has any thread, so that a kill is a real one.
Prints each edge as JSON; exits with 1 and says why when what is left is not whole.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
from mlx.nn.layers.linear import Linear
from mlx.optimizers import AdamW

from services.trainer.recipe import DEFAULTS
from services.trainer.worker.adapters import export
from services.trainer.worker.checkpoint import Checkpoints
from services.trainer.worker.loop import RunState
from services.trainer.worker.pace import Pace
from tests.faults.injection import EIO, ENOSPC, KILL, KINDS, Faults, injected

STEPS, KEPT = 3, 1
FAILED, BROKEN = 3, 4


def fresh() -> Any:
    """Make what a checkpoint is taken of."""
    model, optimizer = Linear(4, 4), AdamW(learning_rate=0.1)
    optimizer.init(model.trainable_parameters())  # type: ignore[no-untyped-call]
    own = {"state": RunState(), "pace": Pace(), "recipe": DEFAULTS, "config": {"a": 1}}
    return SimpleNamespace(model=model, optimizer=optimizer, **own)


def at(trainer: Any, step: int) -> None:
    """Bring it to a step; all of it is a function of the step."""
    trainer.model.weight = mx.full((4, 4), float(step))
    trainer.model.bias = mx.full((4,), float(-step))
    mx.eval(trainer.model.parameters())
    trainer.state = replace(RunState(), step=step, loss=float(step))


def job(folder: Path, faults: Faults) -> dict[str, str]:
    """Resume, save each step that is left, and export; each save that returned is noted."""
    checkpoints, trainer = Checkpoints(folder / "checkpoints", "same", KEPT), fresh()
    checkpoints.restore(trainer)
    step = trainer.state.step
    assert len(os.listdir(folder / "checkpoints")) <= KEPT + 1  # noqa: PTH208
    saved = os.open(folder / "saved", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    assert step >= (folder / "saved").stat().st_size, f"resumed at {step}"
    assert not step or float(trainer.model.weight[0, 0].item()) == step == trainer.state.loss
    with injected(faults):
        for number in range(step + 1, STEPS + 1):
            at(trainer, number)
            checkpoints.save(trainer)
            os.write(saved, b"x")
        return {f.name: f.sha256 for f in export(trainer, folder / "attempt-1", "base")}


def forked(work: Callable[[], int]) -> int:
    """Do work in a process of its own; give its exit code."""
    if (pid := os.fork()) == 0:
        code = BROKEN
        try:
            code = work()
        except AssertionError as error:
            print("broken:", error, file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def struck(folder: Path, kind: str, number: int) -> int:
    """Run the job until its n-th write, and say which it was."""

    def tell() -> None:
        if faults.hit:
            told = json.dumps({"kind": kind, "edge": faults.hit}) + "\n"
            os.write(1, told.encode())

    def kill() -> None:
        tell()
        os.kill(os.getpid(), signal.SIGKILL)

    faults = Faults(kind, number, kill=kill)
    try:
        job(folder, faults)
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError)
        assert kind != ENOSPC or full, f"a full disk is not told: {error!r}"
        tell()
        return FAILED
    tell()
    # A fault in cleaning up costs nothing but space, and the end of the run was reached.
    return 0 if faults.hit is None else FAILED


def recovered(folder: Path) -> int:
    """Run the job to its end after the fault; nothing half-written may be taken for whole."""
    staged = folder / "attempt-1"
    if staged.exists():
        left = {path.name for path in staged.iterdir()}
        assert left == {"adapters.safetensors", "adapter_config.json"}, left
    found = json.dumps(job(folder, Faults()), sort_keys=True)
    reference = folder.parent / "reference"
    if not reference.exists():
        reference.write_text(found)
    assert found == reference.read_text(), "other bytes"
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    # One that could not be removed goes with the next save, or with the job's folder.
    assert names[-1] == f"step-{STEPS:08d}", names
    assert not [name for name in names if not name.startswith("step-")], names
    assert sorted(p.name for p in folder.iterdir()) == ["attempt-1", "checkpoints", "saved"]
    return 0


def main() -> int:
    """Strike each edge in turn by each kind, until a run passes without being reached."""
    with tempfile.TemporaryDirectory() as name:
        for kind in ("", *KINDS):
            code, number = FAILED, 0
            while code != 0 if kind else number == 0:
                number += 1
                folder = Path(name) / f"{kind}{number}"
                (folder / "checkpoints").mkdir(parents=True)
                code = forked(lambda: struck(folder, kind, number)) if kind else 0  # noqa: B023
                if code not in (0, FAILED, -signal.SIGKILL) or (code < 0) > (kind == KILL):
                    return 1
                if forked(lambda: recovered(folder)):  # noqa: B023
                    print(kind, "at write", number, file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    assert EIO in KINDS
    sys.exit(main())
