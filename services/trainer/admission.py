"""Whether a job can be trained, before it is queued: the worker's own rules and words."""

from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, RowLines

from services.chassis.errors import FailedPrecondition
from services.runtime.trainable import NO_HELD_OUT, NO_ROWS, Lines, Untrainable
from services.trainer.forecast import Base, trained_layers
from services.trainer.recipe import Recipe


def check(report: DatasetReport, recipe: Recipe) -> None:
    """Raise UNTRAINABLE if the worker would refuse these rows."""
    found = Untrainable(_lines(report.masked), _lines(report.refused), report.refusal)
    complaint = found.complaint(report.parameters.max_seq_length)
    if not complaint and not report.train_rows:
        complaint = NO_ROWS
    if not complaint and recipe.early_stop_patience and not report.valid_rows:
        complaint = NO_HELD_OUT
    if not complaint:
        return
    lines = sorted(found.masked.first + found.refused.first)
    raise _untrainable(complaint, ",".join(map(str, lines)))


def check_recipe(base: Base, recipe: Recipe) -> None:
    """Raise UNTRAINABLE if the base model lacks what the recipe trains."""
    layers = base.shape.layers
    if recipe.lora_layers > layers:
        raise _untrainable(
            f"lora_layers is {recipe.lora_layers} and the base model has {layers} layers; "
            "lower lora_layers, or leave it out for all of them"
        )
    paths = {f".{weight.path}" for weight in trained_layers(base, recipe)}
    keys = recipe.target_keys
    if missing := [k for k in keys if not any(path.endswith(f".{k}") for path in paths)]:
        raise _untrainable(f"target_keys: the trained layers have no {', '.join(missing)}")


def _untrainable(complaint: str, lines: str = "") -> FailedPrecondition:
    return FailedPrecondition("UNTRAINABLE", complaint, metadata={"lines": lines})


def _lines(rows: RowLines) -> Lines:
    return Lines(rows.count, list(rows.lines))
