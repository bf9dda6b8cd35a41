"""What a job is to find out about its version, and how that reads in the registry."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlx_hub.registry.v1 import evaluation_pb2, publication_pb2
from mlx_hub.trainer.v1 import training_event_pb2 as event_pb

from services.chassis.errors import Invalid
from services.trainer.domain import TrainingJob
from services.trainer.recipe import DEFAULTS, Recipe
from services.trainer.reports import Evaluation

_WHICH = {
    "base": event_pb.EVALUATED_WEIGHTS_BASE,
    "version": event_pb.EVALUATED_WEIGHTS_VERSION,
}
_SPLITS = {
    "valid": evaluation_pb2.EVALUATION_SPLIT_VALID,
    "test": evaluation_pb2.EVALUATION_SPLIT_TEST,
}
_FROM_WHICH: dict[int, str] = {number: name for name, number in _WHICH.items()}
_FROM_SPLIT: dict[int, str] = {number: name for name, number in _SPLITS.items()}


def choices(given: Mapping[str, Any], held_out: float) -> dict[str, Any]:
    """Fill in what depends on whether rows are held out; refuse what then has no meaning."""
    prompts = tuple(given.get("sample_prompts", ()))
    if prompts and "samples" in given:
        raise _refused("samples", "sample_prompts are answered instead; leave samples out")
    wanted = {"evaluate": given.get("evaluate"), "samples": given.get("samples")}
    if not held_out:
        for name, value in wanted.items():
            if value:
                raise _refused(
                    name,
                    f"{name} needs held-out rows, and the job holds none out; set test_fraction or "
                    f"validation_fraction, or leave {name} out",
                )
    usual = {"evaluate": bool(held_out), "samples": DEFAULTS.samples if held_out else 0}
    found = {name: usual[name] if value is None else value for name, value in wanted.items()}
    return {**found, "samples": len(prompts)} if prompts else found


def perplexity(loss: float) -> float | None:
    """Give e to the loss; None where that is more than a number can hold."""
    try:
        return math.exp(loss)
    except OverflowError:
        return None


def evaluation_to_proto(evaluation: Evaluation) -> event_pb.EvaluationResult:
    """Render an evaluation."""
    return event_pb.EvaluationResult(
        which=_WHICH[evaluation.which],
        split=_SPLITS[evaluation.split],
        loss=evaluation.loss,
        perplexity=perplexity(evaluation.loss),
        rows=evaluation.rows,
        held_out_rows=evaluation.held_out_rows,
        tokens=evaluation.tokens,
    )


def evaluation_from_proto(message: event_pb.EvaluationResult) -> Evaluation:
    """Read an evaluation."""
    return Evaluation(
        which=_FROM_WHICH[message.which],
        split=_FROM_SPLIT[message.split],
        loss=message.loss,
        rows=message.rows,
        held_out_rows=message.held_out_rows,
        tokens=message.tokens,
    )


def measured(evaluation: Evaluation) -> dict[str, float]:
    """Give the values of an evaluation under names that stand beside a step's own."""
    prefix = "" if evaluation.which == "version" else "base_"
    return {f"{prefix}{evaluation.split}_{name}": v for name, v in _values(evaluation)}


def published(
    job: TrainingJob, told: Iterable[event_pb.EvaluationResult]
) -> Iterator[publication_pb2.JobEvaluation]:
    """Give the evaluations that the registry records with the version."""
    for evaluation in map(evaluation_from_proto, told):
        for metric, value in _values(evaluation):
            yield publication_pb2.JobEvaluation(
                base=evaluation.which == "base",
                metric=metric,
                value=value,
                split=_SPLITS[evaluation.split],
                how=_how(job, evaluation),
            )


def _values(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    yield "loss", evaluation.loss
    if (found := perplexity(evaluation.loss)) is not None:
        yield "perplexity", found


def _how(job: TrainingJob, evaluation: Evaluation) -> dict[str, str]:
    """Say all that two values must share to be of the same rows, tokens and weights."""
    recipe = job.recipe
    return {
        "by": f"training job {job.id}, attempt {job.attempt}",
        "rows": str(evaluation.rows),
        "held_out_rows": str(evaluation.held_out_rows),
        "tokens": str(evaluation.tokens),
        "seed": str(recipe.seed),
        "validation_fraction": _short(recipe.validation_fraction),
        "test_fraction": _short(recipe.test_fraction),
        "max_seq_length": str(recipe.max_seq_length),
        "mask_prompt": str(recipe.mask_prompt).lower(),
        "base": _base(recipe),
    }


def _base(recipe: Recipe) -> str:
    bits = recipe.quantize_bits
    return f"quantised to {bits} bits, as it was trained on" if bits else "as it is stored"


def _short(fraction: float) -> str:
    """Write a fraction as it was asked for; it has travelled as a 32-bit float."""
    return f"{fraction:.7g}"


def _refused(name: str, message: str) -> Invalid:
    return Invalid("INVALID_FIELD", message, field=name)
