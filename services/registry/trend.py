"""A model's metrics over its versions, laid out from the newest evaluation of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from services.registry.quality import (
    BASE_VERSION,
    Direction,
    Evaluation,
    Gate,
    Measure,
    worse_by,
)

MAX_POINTS = 2000


class Change(StrEnum):
    """How a value compares to the one before."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"


@dataclass(frozen=True)
class Point:
    """The newest evaluation of a version beside its neighbours."""

    evaluation: Evaluation
    aliases: tuple[str, ...]
    delta_previous: float | None
    delta_base: float | None
    change: Change | None


@dataclass(frozen=True)
class Series:
    """One measure over the versions."""

    measure: Measure
    dataset_id: int
    direction: Direction | None
    base_value: float | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Trend:
    """All measures of a model; `truncated` when older versions were left out."""

    model_id: int
    series: tuple[Series, ...]
    truncated: bool


def series_of(
    newest: Iterable[Evaluation], gate: Gate | None, aliases: Mapping[int, tuple[str, ...]]
) -> tuple[Series, ...]:
    """Lay the newest evaluation of each version and measure out by measure and version."""
    ordered = sorted(newest, key=lambda found: (found.measure, found.subject.version))
    return tuple(
        _series(measure, list(group), gate, aliases)
        for measure, group in groupby(ordered, key=lambda evaluation: evaluation.measure)
    )


def _series(
    measure: Measure,
    ordered: list[Evaluation],
    gate: Gate | None,
    aliases: Mapping[int, tuple[str, ...]],
) -> Series:
    direction = gate.rule.direction if gate and gate.rule.metric == measure.metric else None
    base = ordered[0].value if ordered[0].subject.version == BASE_VERSION else None
    versions = [evaluation for evaluation in ordered if evaluation.subject.version != BASE_VERSION]
    earlier = [None, *(evaluation.value for evaluation in versions)]
    points = tuple(
        Point(
            evaluation=evaluation,
            aliases=aliases.get(evaluation.subject.version, ()),
            delta_previous=_delta(evaluation.value, previous),
            delta_base=_delta(evaluation.value, base),
            change=_change(direction, evaluation.value, previous),
        )
        for evaluation, previous in zip(versions, earlier, strict=False)
    )
    return Series(measure, ordered[-1].dataset_id, direction, base, points)


def _delta(value: float, reference: float | None) -> float | None:
    return None if reference is None else value - reference


def _change(direction: Direction | None, value: float, previous: float | None) -> Change | None:
    if direction is None or previous is None:
        return None
    worse = worse_by(direction, value, previous)
    return Change.WORSE if worse > 0 else Change.BETTER if worse < 0 else Change.SAME
