"""Checkpoints: weights, optimizer state and step, whole on disk before they have a name."""

import json
import logging
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from services.runtime import blas
from services.runtime.folder import digest
from services.trainer.worker.files import remove_unfinished, whole_folder
from services.trainer.worker.loop import RunState, Trainer
from services.trainer.worker.pace import Pace

log = logging.getLogger(__name__)

_WEIGHTS, _OPTIMIZER, _STATE = "adapters.safetensors", "optimizer.safetensors", "state.json"
_UNSOUND = (OSError, ValueError, KeyError, TypeError)


class Checkpoints:
    """One job's checkpoints; the fingerprint ties them to its recipe, base model and data.

    The folder is there. When it is not any more, a newer attempt has taken it, and nothing can be
    saved.
    """

    def __init__(self, folder: Path, fingerprint: str, newest: int, way_back: int = 0) -> None:
        """Take the folder and how many of the newest stay.

        Every `way_back` steps there must be one to go back to, if not 0.
        """
        self._folder = folder
        self._fingerprint = fingerprint
        self._stay = newest
        self._way_back = way_back
        self._whole = -1

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint and drop all but the newest few; one of this state stays as it is."""
        step = trainer.state.step
        if step != self._whole:
            self._write(trainer)
            self._whole = step
        self._prune(trainer)

    def _write(self, trainer: Trainer) -> None:
        with whole_folder(self._folder / _name(trainer.state.step)) as folder:
            save_arrays(folder / _WEIGHTS, trainer.model.trainable_parameters())
            save_arrays(folder / _OPTIMIZER, trainer.optimizer.state)
            self._seal(folder, trainer)

    def restore(self, trainer: Trainer, at_most: int | None = None) -> None:
        """Load the newest sound checkpoint; without one, the trainer stays as it is.

        Those behind step `at_most` are passed over: the run is to report their steps again.
        """
        remove_unfinished(self._folder)
        for folder in self._newest_first():
            if at_most is not None and _step(folder) > at_most:
                continue
            try:
                self._load(folder, trainer)
                return
            except _UNSOUND as error:
                log.warning("checkpoint %s is skipped: %s", folder.name, error)
                # It would be counted among the newest.
                shutil.rmtree(folder, ignore_errors=True)

    def go_back(self, trainer: Trainer, step: int) -> bool:
        """Load the newest of the recipe's own steps up to this one, and forget all behind it."""
        newest = self._newest_first()
        for folder in self._ways_back():
            if _step(folder) > step:
                continue
            try:
                self._load(folder, trainer)
            except _UNSOUND as error:
                log.warning("checkpoint %s is skipped: %s", folder.name, error)
                continue
            for later in newest[: newest.index(folder)]:
                shutil.rmtree(later)
            # The run changes its state and saves that in this one's place.
            self._whole = -1
            return True
        return False

    def newest(self) -> str | None:
        """Name the newest checkpoint as it lies below STORAGE_ACTIVE_PATH."""
        found = self._newest_first()
        return Path(*found[0].parts[-4:]).as_posix() if found else None

    def keep(self, trainer: Trainer) -> None:
        """Keep the weights as they are; the state names their step."""
        with whole_folder(self._kept(trainer.state.kept_step)) as folder:
            save_arrays(folder / _WEIGHTS, trainer.model.trainable_parameters())
            self._seal(folder, trainer)

    def load_kept(self, trainer: Trainer) -> None:
        """Load the weights that the state names as kept."""
        folder = self._kept(trainer.state.kept_step)
        self._open(folder)
        _load_weights(folder, trainer)

    def _seal(self, folder: Path, trainer: Trainer) -> None:
        """Write what ties the arrays in a folder to the run."""
        hashes = {path.name: digest(path).sha256 for path in sorted(folder.iterdir())}
        body: dict[str, Any] = {"fingerprint": self._fingerprint, "sha256": hashes}
        body |= {"state": asdict(trainer.state), "pace": trainer.pace.means}
        body["blas_threads"] = blas.threads()
        (folder / _STATE).write_text(json.dumps(body))

    def _open(self, folder: Path) -> dict[str, Any]:
        """Read what `_seal` wrote, if all is as it was."""
        body: dict[str, Any] = json.loads((folder / _STATE).read_text())
        if body["fingerprint"] != self._fingerprint:
            raise ValueError("it belongs to another recipe, base model or dataset")
        for name, sha256 in body["sha256"].items():
            if digest(folder / name).sha256 != sha256:
                raise ValueError(f"{name} is damaged")
        return body

    def _load(self, folder: Path, trainer: Trainer) -> None:
        body = self._open(folder)
        state = RunState(**body["state"])
        if state.kept_val_loss is not None:
            self._open(self._kept(state.kept_step))
        optimizer: Any = mx.load(str(folder / _OPTIMIZER))
        blas.use_threads(body.get("blas_threads", 0))
        _load_weights(folder, trainer)
        trainer.optimizer.state = tree_unflatten(list(optimizer.items()))
        mx.eval(trainer.optimizer.state)
        trainer.state, trainer.pace = state, Pace(body["pace"])
        self._whole = state.step

    def _prune(self, trainer: Trainer) -> None:
        """Drop all but the newest few, the ways back, and the kept weights that they name.

        What is ahead of the trainer was passed over at the start.
        """
        held, step = self._newest_first(), trainer.state.step
        newest = [folder for folder in held if _step(folder) <= step]
        ways = [folder for folder in self._ways_back() if _step(folder) <= step]
        # The last update before a fault may be that of the newest: then the one before it is due.
        needed = {*newest[: self._stay], *ways[:2]}
        for old in set(held) - needed:
            shutil.rmtree(old, ignore_errors=True)
        if not trainer.recipe.early_stop_patience:
            return
        named = {self._kept(trainer.state.kept_step)}
        for folder in needed:
            with suppress(*_UNSOUND):
                body = json.loads((folder / _STATE).read_text())
                named.add(self._kept(body["state"]["kept_step"]))
        for old in set(self._folder.glob("kept-*")) - named:
            shutil.rmtree(old, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)

    def _ways_back(self) -> list[Path]:
        every = self._way_back
        return [folder for folder in self._newest_first() if every and _step(folder) % every == 0]

    def _kept(self, step: int) -> Path:
        return self._folder / f"kept-{step:08d}"


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _load_weights(folder: Path, trainer: Trainer) -> None:
    weights: Any = mx.load(str(folder / _WEIGHTS))
    trainer.model.load_weights(list(weights.items()), strict=False)
    mx.eval(trainer.model.parameters())


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
