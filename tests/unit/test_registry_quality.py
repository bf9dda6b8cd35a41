"""The gate's decision and the trend, without any server."""

from dataclasses import replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from mlx_hub.registry.v1.evaluation_pb2 import EvaluationSplit
from mlx_hub.registry.v1.promotion_gate_pb2 import MetricDirection
from mlx_hub.registry.v1.quality_trend_pb2 import QualityChange

from services.chassis.errors import FailedPrecondition
from services.registry.messages import quality as messages
from services.registry.quality import (
    Direction,
    Evaluation,
    Gate,
    GateRule,
    Measure,
    Measured,
    Split,
    Subject,
    admit,
    trained,
    worse_by,
)
from services.registry.trend import Change, Trend, series_of
from tests.unit.test_registry_domain import NOW, PUBLICATION

RULE = GateRule(1, "val_loss", Direction.LOWER, 0.1, 4, Split.VALID, ())
OPPOSITE = {Direction.LOWER: Direction.HIGHER, Direction.HIGHER: Direction.LOWER}

values = st.floats(allow_nan=False, allow_infinity=False)
tolerances = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
directions = st.sampled_from(Direction)


def gate(**changes: object) -> Gate:
    return Gate(replace(RULE, **changes), "data", "b" * 64, NOW)  # type: ignore[arg-type]


def passes(direction: Direction, tolerance: float, value: float, reference: float) -> bool:
    asked = gate(direction=direction, tolerance=tolerance)
    try:
        admit(asked, "champion", Measured(2, value), Measured(1, reference))
    except FailedPrecondition:
        return False
    return True


@given(directions, tolerances, values, values)
def test_negated_values_and_the_other_direction_are_the_same_question(
    direction: Direction, tolerance: float, value: float, reference: float
) -> None:
    mirrored = passes(OPPOSITE[direction], tolerance, -value, -reference)
    assert passes(direction, tolerance, value, reference) is mirrored


@given(directions, tolerances, tolerances, values, values)
def test_a_larger_tolerance_lets_no_fewer_through(
    direction: Direction, one: float, other: float, value: float, reference: float
) -> None:
    small, large = sorted((one, other))
    assert passes(direction, small, value, reference) <= passes(direction, large, value, reference)


@given(directions, tolerances, values, values)
def test_nothing_worse_than_the_tolerance_passes_and_nothing_else_is_refused(
    direction: Direction, tolerance: float, value: float, reference: float
) -> None:
    sign = 1 if direction is Direction.LOWER else -1
    excess = sign * (Fraction(repr(value)) - Fraction(repr(reference)))
    assert passes(direction, tolerance, value, reference) is (excess <= Fraction(repr(tolerance)))


@given(directions, values, values)
def test_the_better_of_two_always_passes(direction: Direction, one: float, other: float) -> None:
    low, high = sorted((one, other))
    better, worse = (low, high) if direction is Direction.LOWER else (high, low)
    assert passes(direction, 0, better, worse)
    assert worse_by(direction, better, worse) <= 0 <= worse_by(direction, worse, better)


@pytest.mark.parametrize(("value", "verdict"), [(0.8, True), (0.8000000000000002, False)])
def test_numbers_are_compared_as_people_write_them(value: float, verdict: bool) -> None:
    assert 0.8 - 0.7 > 0.1, "in binary a little more than the tolerance"
    assert passes(Direction.LOWER, 0.1, value, 0.7) is verdict


def test_a_worse_version_is_refused_with_every_number() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        admit(gate(), "champion", Measured(3, 0.9), Measured(1, 0.5))
    assert caught.value.reason == "PROMOTION_REFUSED"
    assert caught.value.message == (
        "version 3 is worse than version 1 by 0.4: val_loss on dataset 'data' (valid) is 0.9 "
        "against 0.5, and the gate of 'champion' lets 0.1 through"
    )
    assert caught.value.metadata == {
        "model_id": "1",
        "version": "3",
        "alias": "champion",
        "dataset_id": "4",
        "metric": "val_loss",
        "value": "0.9",
        "reference": "1",
        "reference_value": "0.5",
        "tolerance": "0.1",
        "worse_by": "0.4",
    }


def test_the_base_model_is_named_as_such() -> None:
    with pytest.raises(FailedPrecondition, match="worse than the base model by 2:") as caught:
        admit(gate(), "champion", Measured(1, 4.0), Measured(0, 2.0))
    assert caught.value.metadata["reference"] == "base"


@pytest.mark.parametrize("reference", [Measured(1, 0.5), Measured(1, None), Measured(0, None)])
def test_a_version_without_an_evaluation_never_passes(reference: Measured) -> None:
    with pytest.raises(FailedPrecondition, match=r"version 3 has no evaluation.*record") as caught:
        admit(gate(tolerance=1e300), "champion", Measured(3, None), reference)
    assert caught.value.reason == "PROMOTION_REFUSED"
    assert "worse_by" not in caught.value.metadata


def test_what_cannot_be_compared_is_refused_unless_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(FailedPrecondition, match="version 1, which 'champion' points at"):
        admit(gate(), "champion", Measured(3, 0.5), Measured(1, None))
    assert admit(gate(), "champion", Measured(3, 0.5), Measured(0, None)) == {
        "metric": "val_loss",
        "value": "0.5",
    }


def test_the_verdict_is_what_history_is_told() -> None:
    assert admit(gate(), "champion", Measured(3, 0.5), Measured(2, 0.75)) == {
        "metric": "val_loss",
        "value": "0.5",
        "reference": "2",
        "reference_value": "0.75",
        "tolerance": "0.1",
    }


def test_a_gate_guards_the_aliases_it_names_or_all() -> None:
    assert gate().guards("anything")
    assert gate(aliases=("champion",)).guards("champion")
    assert not gate(aliases=("champion",)).guards("challenger")


def test_a_job_brings_its_loss_on_the_rows_it_held_out() -> None:
    publication = replace(PUBLICATION, metrics={"loss": 0.5, "val_loss": 0.7})
    measured = trained(publication, 3)
    assert measured is not None
    assert (measured.version, measured.metric, measured.value) == ("3", "val_loss", 0.7)
    assert (measured.split, measured.dataset_id) == (Split.VALID, 4)
    assert measured.how["by"] == "training job 5, attempt 2"
    assert trained(PUBLICATION, 3) is None, "no val_loss"
    assert trained(replace(publication, valid_rows=0), 3) is None, "no rows it could be of"


VALID = Measure("val_loss", "b" * 64, Split.VALID)


def evaluation(version: int, value: float, measure: Measure = VALID) -> Evaluation:
    return Evaluation(7, 1, Subject(version, "e" * 64), measure, value, 4, {}, NOW)


def test_a_series_goes_by_rising_version_with_the_base_as_reference() -> None:
    found = [evaluation(3, 0.75), evaluation(1, 0.5), evaluation(0, 2.0), evaluation(2, 0.5)]
    [series] = series_of(found, gate(), {3: ("champion", "latest")})
    assert (series.base_value, series.direction) == (2.0, Direction.LOWER)
    assert [
        (p.evaluation.subject.version, p.delta_previous, p.delta_base, p.change, p.aliases)
        for p in series.points
    ] == [
        (1, None, -1.5, None, ()),
        (2, 0.0, -1.5, Change.SAME, ()),
        (3, 0.25, -1.25, Change.WORSE, ("champion", "latest")),
    ]


def test_only_values_of_one_measure_stand_in_one_series() -> None:
    accuracy = Measure("accuracy", "b" * 64, Split.VALID)
    whole = replace(VALID, split=Split.ALL)
    found = [evaluation(n, float(n), m) for n in (1, 2) for m in (VALID, whole, accuracy)]
    series = series_of(found, gate(direction=Direction.HIGHER), {})
    assert [s.measure for s in series] == [accuracy, whole, VALID]
    assert [s.direction for s in series] == [None, Direction.HIGHER, Direction.HIGHER]
    assert [s.points[1].change for s in series] == [None, Change.BETTER, Change.BETTER]
    [alone] = series_of([evaluation(0, 2.0)], None, {})
    assert (alone.base_value, alone.points) == (2.0, ())


SERIES = series_of(
    [evaluation(0, 2.0), evaluation(1, 0.5), evaluation(2, 0.25)], gate(), {2: ("x",)}
)
MEASURED = replace(evaluation(3, 0.75), how={"tool": "x"})


@pytest.mark.parametrize(
    "message",
    [
        messages.to_evaluation(MEASURED),
        messages.to_gate(gate(aliases=("champion",))),
        messages.to_trend(Trend(1, SERIES, truncated=True)),
        messages.to_trend(Trend(1, SERIES, truncated=True)).series[0],
        messages.to_trend(Trend(1, SERIES, truncated=True)).series[0].points[1],
    ],
    ids=lambda message: message.DESCRIPTOR.name,
)
def test_no_field_of_the_contract_is_forgotten(message: Message) -> None:
    assert [f.name for f in message.DESCRIPTOR.fields if f not in dict(message.ListFields())] == []


@pytest.mark.parametrize(
    ("words", "kinds", "enum"),
    [
        (messages.SPLIT, Split, EvaluationSplit),
        (messages.DIRECTION, Direction, MetricDirection),
        (messages.CHANGE, Change, QualityChange),
    ],
)
def test_every_word_has_a_value_of_the_contract(
    words: dict[str, int], kinds: type[StrEnum], enum: Any
) -> None:
    assert set(words) == set(kinds)
    assert sorted(words.values()) == enum.values()[1:]
