"""Whether a job's data can be trained on, before it is queued: the worker's own rule and words."""

from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, RowLines

from services.chassis.errors import FailedPrecondition
from services.runtime.trainable import NO_HELD_OUT, NO_ROWS, Lines, Untrainable
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
    raise FailedPrecondition(
        "UNTRAINABLE", complaint, metadata={"lines": ",".join(map(str, lines))}
    )


def _lines(rows: RowLines) -> Lines:
    return Lines(rows.count, list(rows.lines))
