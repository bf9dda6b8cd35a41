"""Checkpoints: weights, optimizer state and step, whole on disk before they have a name."""

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from services.trainer.worker.files import digest, whole_folder
from services.trainer.worker.loop import RunState, Trainer
from services.trainer.worker.pace import Pace

log = logging.getLogger(__name__)

KEPT = 2
_WEIGHTS, _OPTIMIZER, _STATE = "adapters.safetensors", "optimizer.safetensors", "state.json"


class Checkpoints:
    """One job's checkpoints; the fingerprint ties them to its recipe, base model and data."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint and drop all but the newest few."""
        with whole_folder(self._folder / f"step-{trainer.state.step:08d}") as folder:
            save_arrays(folder / _WEIGHTS, trainer.model.trainable_parameters())
            save_arrays(folder / _OPTIMIZER, trainer.optimizer.state)
            hashes = {name: digest(folder / name).sha256 for name in (_WEIGHTS, _OPTIMIZER)}
            body: dict[str, Any] = {"fingerprint": self._fingerprint, "sha256": hashes}
            body |= {"state": asdict(trainer.state), "pace": trainer.pace.means}
            (folder / _STATE).write_text(json.dumps(body))
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, trainer: Trainer) -> None:
        """Load the newest sound checkpoint; without one, the trainer stays as it is."""
        for folder in self._newest_first():
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
        trainer.state, trainer.pace = state, Pace(body["pace"])

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)


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
