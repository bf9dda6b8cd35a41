"""Checkpoints: weights, optimizer state and step, whole on disk before they have a name."""

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from services.trainer.worker.files import digest, remove_unfinished, whole_folder
from services.trainer.worker.loop import RunState, Trainer

log = logging.getLogger(__name__)

_WEIGHTS, _OPTIMIZER, _STATE = "adapters.safetensors", "optimizer.safetensors", "state.json"


class Checkpoints:
    """One job's checkpoints; the fingerprint ties them to its recipe, base model and data.

    The folder is there. When it is not any more, a newer attempt has taken it, and nothing can be
    saved.
    """

    def __init__(self, folder: Path, fingerprint: str, kept: int) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._kept = kept
        self._whole = -1

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint and drop all but the newest few; one of this step stays as it is."""
        step = trainer.state.step
        if step != self._whole:
            self._write(trainer)
            self._whole = step
        self._prune(step)

    def _prune(self, step: int) -> None:
        """Keep the newest few up to this step; what is newer was passed over at the start."""
        held = self._newest_first()
        newer = [folder for folder in held if folder.name > _name(step)]
        for folder in newer + held[len(newer) + self._kept :]:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, trainer: Trainer) -> None:
        with whole_folder(self._folder / _name(trainer.state.step)) as folder:
            save_arrays(folder / _WEIGHTS, trainer.model.trainable_parameters())
            save_arrays(folder / _OPTIMIZER, trainer.optimizer.state)
            hashes = {name: digest(folder / name).sha256 for name in (_WEIGHTS, _OPTIMIZER)}
            body = {"fingerprint": self._fingerprint, "sha256": hashes}
            body["state"] = asdict(trainer.state)
            (folder / _STATE).write_text(json.dumps(body))

    def restore(self, trainer: Trainer, recorded: int | None = None) -> None:
        """Load the newest sound checkpoint; without one, the trainer stays as it is.

        One that is ahead of what was recorded is passed over: its steps were never told.
        """
        remove_unfinished(self._folder)
        for folder in self._usable(recorded):
            try:
                self._load(folder, trainer)
                return
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("checkpoint %s is skipped: %s", folder.name, error)

    def _load(self, folder: Path, trainer: Trainer) -> None:
        body = json.loads((folder / _STATE).read_text())
        if body["fingerprint"] != self._fingerprint:
            raise ValueError("it belongs to another recipe, base model or dataset")
        for name, sha256 in body["sha256"].items():
            if digest(folder / name).sha256 != sha256:
                raise ValueError(f"{name} is damaged")
        state = RunState(**body["state"])
        weights: Any = mx.load(str(folder / _WEIGHTS))
        optimizer: Any = mx.load(str(folder / _OPTIMIZER))
        trainer.model.load_weights(list(weights.items()), strict=False)
        trainer.optimizer.state = tree_unflatten(list(optimizer.items()))
        mx.eval(trainer.model.parameters(), trainer.optimizer.state)
        trainer.state = state
        self._whole = state.step

    def _usable(self, recorded: int | None) -> list[Path]:
        """List what is not ahead; all, if only much work done twice would be the price of it."""
        held = self._newest_first()
        told = [f for f in held if recorded is None or f.name <= _name(recorded)]
        return told if told or len(held) < self._kept else held

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def save_arrays(path: Path, tree: Any) -> None:
    """Write a tree of arrays as safetensors; sorted, so that equal arrays give equal bytes."""
    arrays: Any = tree_flatten(tree)
    try:
        mx.save_safetensors(str(path), dict(sorted(arrays)), metadata={"format": "mlx"})
    except RuntimeError:
        # MLX does not say why it could not write; the system does.
        with path.open("ab") as file:
            file.write(b"\0")
        raise
