"""One training run: load, split, train from the newest checkpoint, export."""

import hashlib
import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_hub.internal.v1 import worker_pb2 as pb
from mlx_hub.registry.v1 import lineage_pb2

from services.runtime import blas
from services.runtime.blas import BlasReport
from services.runtime.encoding import Encoder
from services.runtime.folder import FolderError, digest_of, hash_folder
from services.runtime.model import load_base
from services.runtime.packed import is_quantized, load_packed
from services.trainer import messages
from services.trainer.recipe import Method, Recipe
from services.trainer.reports import Checkpoint, Progress
from services.trainer.worker.adapters import export
from services.trainer.worker.checkpoint import Checkpoints
from services.trainer.worker.data import Sides, load_sides
from services.trainer.worker.evaluation import Evaluator
from services.trainer.worker.failures import Stopped, TrainingFailed, untrainable
from services.trainer.worker.guards import are_finite
from services.trainer.worker.kept import Kept
from services.trainer.worker.link import Link
from services.trainer.worker.loop import Trainer
from services.trainer.worker.recovery import train

# Changes when this code can't go on exactly from a checkpoint of the code before.
FORMAT = 3


def run(link: Link, command: pb.TrainCommand, report: BlasReport) -> pb.WorkerFinished:
    """Do the job; raises Stopped or TrainingFailed when it ends early."""
    blas.use_threads(command.blas_threads)
    recipe = messages.recipe_from_proto(command.job)
    here = Path(command.checkpoint_path), _fingerprint(recipe, command)
    trainer, sides, evaluator = _prepare(link, command, recipe, Kept(*here))
    way_back = recipe.checkpoint_every_steps if recipe.nonfinite_lr_factor else 0
    checkpoints = Checkpoints(*here, command.job.checkpoints_kept, way_back)
    if evaluator.resumable:
        within = command.HasField("resume_at_most_step")
        checkpoints.restore(trainer, command.resume_at_most_step if within else None)
    link.started(
        pb.WorkerStarted(
            total_steps=trainer.total_steps,
            resumed_from_step=trainer.state.step,
            train_rows=len(sides.train),
            valid_rows=len(sides.valid),
            test_rows=len(sides.test),
            environment=_environment(report),
            progress=messages.progress_to_proto(_progress(trainer)),
        )
    )
    try:
        evaluator.before(link)
        train(trainer, link, checkpoints, command)
        finished = evaluator.after(link)
    except Stopped:
        if link.saves_checkpoint and are_finite(trainer.model.trainable_parameters()):
            start = time.perf_counter()
            checkpoints.save(trainer)
            link.checkpoint(Checkpoint(trainer.state.step), time.perf_counter() - start)
        raise
    files = export(trainer, Path(command.output_path), command.base_digest)
    listed = (
        lineage_pb2.ArtifactFile(name=f.name, size_bytes=f.size, sha256=f.sha256) for f in files
    )
    finished.MergeFrom(pb.WorkerFinished(files=listed, metrics=trainer.state.metrics()))
    return finished


def _prepare(
    link: Link, command: pb.TrainCommand, recipe: Recipe, kept: Kept
) -> tuple[Trainer, Sides, Evaluator]:
    """Load the model and the data."""
    model, tokenizer = _load_base(command, recipe)
    link.poll(0)
    encoder = Encoder(tokenizer, mask_prompt=recipe.mask_prompt, max_length=recipe.max_seq_length)
    dataset = Path(command.dataset_path)
    sides = load_sides(dataset, command.dataset_digest, encoder, recipe, lambda: link.poll(0))
    trainer = Trainer(model, recipe, sides.train, sides.valid)
    return trainer, sides, Evaluator(trainer, sides, encoder, tokenizer.eos_token_ids, kept)


def _load_base(command: pb.TrainCommand, recipe: Recipe) -> tuple[Any, Any]:
    """Load the base model, if it still is the one that was imported, as the recipe wants it."""
    path, bits = Path(command.base_path), recipe.quantize_bits
    try:
        # Before anything parses it: a damaged tokenizer fails in ways of its own.
        if digest_of(hash_folder(path)) != command.base_digest:
            raise TrainingFailed(
                "ARTIFACT_CORRUPT",
                "the stored base model no longer has the recorded hash; import it again",
            )
        model, tokenizer, config = load_packed(path, bits) if bits else load_base(path)
    except FolderError as error:
        raise TrainingFailed("ARTIFACT_CORRUPT", f"the stored base model: {error}") from error
    if recipe.method is Method.FULL and is_quantized(config):
        raise untrainable(
            "the base model is stored quantised, and method full trains dense weights only; "
            "use method lora or dora"
        )
    return model, tokenizer


def _fingerprint(recipe: Recipe, command: pb.TrainCommand) -> str:
    """Hash everything that a checkpoint depends on."""
    parts = [FORMAT, asdict(recipe), command.base_digest, command.dataset_digest]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _progress(trainer: Trainer) -> Progress:
    """Tell how far a restored run is, as it was told after that step."""
    state, plan = trainer.state, trainer.plan
    return Progress(
        step=state.step,
        total_steps=plan.total_steps,
        epoch=plan.epoch(state.step),
        loss=state.loss,
        val_loss=state.val_loss,
        smoothed_loss=state.smoothed_loss,
        eta_seconds=trainer.pace.left(plan.due(state.step)) if state.step else None,
        trained_tokens=state.trained_tokens,
    )


def _environment(report: BlasReport) -> dict[str, str]:
    return {
        "mlx": version("mlx"),
        "mlx-lm": version("mlx-lm"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(mx.default_device()),
        **_products(report),
        "format": str(FORMAT),
    }


def _products(report: BlasReport) -> dict[str, str]:
    """Name what the last bits of a product depend on."""
    if not report.redirected:
        return {"blas": "stock"}
    return {"blas": "openblas", "blas_core": report.core, "blas_threads": str(blas.threads())}
