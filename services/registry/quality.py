"""How good versions are, and what a worse one may not become; facts and rules only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from services.chassis.errors import FailedPrecondition, NotFound
from services.registry.domain import BASE
from services.registry.lineage import Publication

VAL_LOSS = "val_loss"
BASE_VERSION = 0


class Split(StrEnum):
    """Which rows of a dataset were used."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"
    ALL = "all"


class Direction(StrEnum):
    """Which values of a metric are good."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, order=True)
class Measure:
    """What is measured on which rows: only values of one measure can be compared."""

    metric: str
    dataset_digest: str
    split: Split


@dataclass(frozen=True)
class NewEvaluation:
    """What a caller measured; `request_id` may be empty."""

    model_id: int
    version: str
    """A number, an alias or `base`."""
    metric: str
    value: float
    dataset_id: int
    split: Split
    how: Mapping[str, str]
    request_id: str = ""
    request_digest: str = ""


@dataclass(frozen=True)
class Subject:
    """What was measured: a version, or with 0 the base model alone, and its digest."""

    version: int
    digest: str


@dataclass(frozen=True)
class Evaluation:
    """A measured value."""

    id: int
    model_id: int
    subject: Subject
    measure: Measure
    value: float
    dataset_id: int
    how: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True)
class EvaluationFilter:
    """What a list of evaluations is narrowed to; empty parts narrow nothing."""

    version: str = ""
    metric: str = ""
    dataset_id: int = 0

    def as_map(self) -> dict[str, str]:
        """Give the filter as the page token remembers it."""
        return {
            "version": self.version,
            "metric": self.metric,
            "dataset_id": str(self.dataset_id),
        }


@dataclass(frozen=True)
class GateRule:
    """What a caller asks of versions that are to be promoted."""

    model_id: int
    metric: str
    direction: Direction
    tolerance: float
    dataset_id: int
    split: Split
    aliases: tuple[str, ...]

    def details(self) -> dict[str, str]:
        """Give the gate as the model's history tells it."""
        return {
            "metric": self.metric,
            "direction": self.direction.value,
            "tolerance": repr(self.tolerance),
            "dataset_id": str(self.dataset_id),
            "split": self.split.value,
            "aliases": ",".join(self.aliases),
        }


@dataclass(frozen=True)
class Gate:
    """A rule on record, with the dataset it speaks of."""

    rule: GateRule
    dataset_name: str
    dataset_digest: str
    updated_at: datetime

    @property
    def measure(self) -> Measure:
        """Give what is compared."""
        return Measure(self.rule.metric, self.dataset_digest, self.rule.split)

    def guards(self, alias: str) -> bool:
        """Tell whether promotions to an alias pass through here."""
        return not self.rule.aliases or alias in self.rule.aliases


@dataclass(frozen=True)
class Measured:
    """A version, or with 0 the base model, and its newest value if there is one."""

    version: int
    value: float | None


def worse_by(direction: Direction, value: float, reference: float) -> Fraction:
    """Tell how much worse a value is than another; a better one is worse by less than nothing.

    Exact in the numbers as people write them: 0.8 is 0.1 more than 0.7, not a little over.
    """
    difference = Fraction(repr(value)) - Fraction(repr(reference))
    return difference if direction is Direction.LOWER else -difference


def admit(
    gate: Gate, alias: str, candidate: Measured, reference: Measured, *, deleted: bool = False
) -> dict[str, str]:
    """Let a version through to an alias, and give what the history is to say of it.

    `reference` is what the alias points at now, or pointed at before it was deleted, or the base
    model when it never was; only the base may lack a value, since then there is nothing that the
    version could be worse than.
    """
    held = f"{alias!r} pointed at before it was deleted" if deleted else f"{alias!r} points at"
    if candidate.value is None:
        raise _unevaluated(gate, alias, candidate, candidate, held)
    details = {"metric": gate.rule.metric, "value": repr(candidate.value)}
    if reference.value is None:
        if reference.version != BASE_VERSION:
            raise _unevaluated(gate, alias, candidate, reference, held)
        return details
    details |= {
        "reference": BASE if reference.version == BASE_VERSION else str(reference.version),
        "reference_value": repr(reference.value),
        "tolerance": repr(gate.rule.tolerance),
    }
    excess = worse_by(gate.rule.direction, candidate.value, reference.value)
    if excess > Fraction(repr(gate.rule.tolerance)):
        raise _worse(gate, alias, candidate, {**details, "worse_by": f"{excess:.17g}"})
    return details


def trained(publication: Publication, version: int) -> NewEvaluation | None:
    """Give the evaluation that a finished job brings along: its loss on the rows it held out."""
    value = publication.metrics.get(VAL_LOSS)
    training = publication.training
    if training is None or value is None or not publication.valid_rows:
        return None
    how = {
        "by": f"training job {training.job_id}, attempt {training.attempt}",
        "held_out_rows": str(publication.valid_rows),
        "seed": str(training.seed),
        "validation_fraction": training.parameters.get("validation_fraction", ""),
    }
    return NewEvaluation(
        model_id=publication.model_id,
        version=str(version),
        metric=VAL_LOSS,
        value=value,
        dataset_id=publication.dataset_id,
        split=Split.VALID,
        how=how,
    )


def gate_not_found(model_id: int) -> NotFound:
    """Build the error for a model without a gate."""
    return NotFound(
        "GATE_NOT_FOUND", f"model {model_id} has no gate", metadata={"model_id": str(model_id)}
    )


def evaluation_not_found(model_id: int, evaluation_id: int) -> NotFound:
    """Build the error for an unknown evaluation of a known model."""
    return NotFound(
        "EVALUATION_NOT_FOUND",
        f"model {model_id} has no evaluation {evaluation_id}; list its evaluations",
        metadata={"model_id": str(model_id), "evaluation_id": str(evaluation_id)},
    )


def _facts(gate: Gate, alias: str, candidate: Measured) -> dict[str, str]:
    return {
        "model_id": str(gate.rule.model_id),
        "version": str(candidate.version),
        "alias": alias,
        "dataset_id": str(gate.rule.dataset_id),
    }


def _unevaluated(
    gate: Gate, alias: str, candidate: Measured, missing: Measured, held: str
) -> FailedPrecondition:
    rule = gate.rule
    what = f"has no evaluation of {rule.metric} on dataset {gate.dataset_name!r} ({rule.split})"
    facts = _facts(gate, alias, candidate) | {"metric": rule.metric}
    if missing is candidate:
        return FailedPrecondition(
            "PROMOTION_REFUSED", f"version {missing.version} {what}; record one", metadata=facts
        )
    return FailedPrecondition(
        "PROMOTION_REFUSED",
        f"version {missing.version}, which {held}, {what}; "
        "record one to compare with, or delete the gate",
        metadata=facts | {"reference": str(missing.version)},
    )


def _worse(
    gate: Gate, alias: str, candidate: Measured, details: Mapping[str, str]
) -> FailedPrecondition:
    base = details["reference"] == BASE
    other = "the base model" if base else f"version {details['reference']}"
    return FailedPrecondition(
        "PROMOTION_REFUSED",
        f"version {candidate.version} is worse than {other} by {details['worse_by']}: "
        f"{gate.rule.metric} on dataset {gate.dataset_name!r} ({gate.rule.split}) is "
        f"{details['value']} against {details['reference_value']}, "
        f"and the gate of {alias!r} lets {details['tolerance']} through",
        metadata=_facts(gate, alias, candidate) | dict(details),
    )
