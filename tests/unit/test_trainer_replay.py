"""Where two runs part, and what is said of it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_hub.trainer.v1 import replay_pb2

from services.trainer.replay import (
    Difference,
    Losses,
    Outcome,
    Parting,
    Run,
    Verdict,
    changed_inputs,
    covered,
    differences,
    judge,
    parting,
)
from services.trainer.verdicts import verdict_to_proto

LOSSES = {1: 2.5, 2: 2.0, 3: 1.5}
FACTS = {"mlx": "1", "code_dirty": "false", "recipe.seed": "0"}
RUN = Run(LOSSES, 3, "digest", {"a": "1", "b": "2"}, FACTS)


@pytest.mark.parametrize(
    ("replayed", "total", "found"),
    [
        (LOSSES, 3, None),
        ({}, 3, None),
        ({1: 2.5, 2: 2.0}, 3, None),  # so far
        ({**LOSSES, 2: math.nextafter(2.0, 3)}, 3, Parting(2, 2.0, math.nextafter(2.0, 3))),
        ({**LOSSES, 2: 9.0, 3: 9.0}, 3, Parting(2, 2.0, 9.0)),
        ({**LOSSES, 4: 1.0}, 4, Parting(4, None, 1.0)),
        ({1: 2.5, 2: 2.0}, 2, Parting(3, 1.5, None)),
        ({1: 2.5}, 2, None),  # shorter, and not at its end yet
        ({2: 9.0}, 3, Parting(2, 2.0, 9.0)),  # of one step alone
    ],
)
def test_the_first_step_that_differs(replayed: Losses, total: int, found: Parting | None) -> None:
    assert parting(LOSSES, 3, replayed, total) == found


def test_a_loss_that_was_never_stored_is_passed_over() -> None:
    original = {1: 2.5, 3: 1.5}
    assert parting(original, 3, LOSSES, 3) is None
    verdict = judge(replace(RUN, losses=original), RUN)
    assert (verdict.outcome, verdict.compared_steps, verdict.steps) == (Outcome.SAME, 2, 3)


LOSS = st.sampled_from([0.5, 0.25, math.nextafter(0.5, 1)])


@given(st.lists(LOSS, min_size=1, max_size=8), st.lists(LOSS, min_size=1, max_size=8))
def test_the_first_difference_is_the_first(then: list[float], now: list[float]) -> None:
    original, replayed = dict(enumerate(then, 1)), dict(enumerate(now, 1))
    found = parting(original, len(then), replayed, len(now))
    if found is None:
        assert then == now
    else:
        assert then[: found.step - 1] == now[: found.step - 1]
        assert original.get(found.step) == found.original != found.replayed
        assert replayed.get(found.step) == found.replayed
    # Told step by step, it is found at the same place.
    steps = ({step: loss} for step, loss in replayed.items())
    one_by_one = (parting(original, len(then), step, len(now)) for step in steps)
    assert next(filter(None, one_by_one), None) == found


def test_a_log_covers_the_steps_up_to_its_first_gap() -> None:
    assert [covered(losses) for losses in ({}, LOSSES, {1: 1.0, 3: 1.0}, {2: 1.0})] == [0, 3, 1, 0]


def test_differences_are_listed_by_name() -> None:
    then = {"mlx": "1", "code_dirty": "false", "recipe.seed": "0", "blas": "stock"}
    now = {"mlx": "2", "format": "2", "code_dirty": "true", "recipe.seed": "0", "recipe.new": "x"}
    assert differences(then, now) == (
        Difference("blas", "stock", ""),
        Difference("code_dirty", "false", "true"),
        Difference("format", "", "2"),
        Difference("mlx", "1", "2"),
    )
    dirty = {"code_dirty": "true", "code_commit": "c"}
    assert differences(dirty, dirty) == (Difference("code_dirty", "true", "true"),)
    assert differences({"code_dirty": "false"}, {"code_dirty": "false"}) == ()


def test_what_a_replay_needs_is_named_when_it_changed() -> None:
    then = {"base_digest": "a", "dataset_digest": "b", "mlx": "1"}
    assert changed_inputs(then, {**then, "mlx": "2"}) == ()
    assert changed_inputs(then, {**then, "dataset_digest": "x"}) == ("dataset",)
    assert changed_inputs(then, {}) == ("base model", "dataset")


def test_a_verdict_says_where() -> None:
    assert judge(RUN, RUN) == Verdict(Outcome.SAME, 0, None, None, "digest", "digest", (), 3, 3, ())
    stopped = Run({1: 2.5, 2: 9.0}, 3, "", {}, {**FACTS, "mlx": "2"})
    assert judge(RUN, stopped) == Verdict(
        Outcome.DIFFERS, 2, 2.0, 9.0, "digest", "", (), 2, 3, (Difference("mlx", "1", "2"),)
    )
    other = replace(RUN, digest="other", files={"a": "1", "b": "x", "c": "3"})
    late = judge(RUN, other)
    assert (late.outcome, late.step) == (Outcome.DIFFERS_AFTER_LAST_LOSS, 0)
    assert late.differing_files == ("b", "c")


def test_a_doctored_loss_counts_even_if_the_bytes_are_the_same() -> None:
    assert judge(replace(RUN, losses={**LOSSES, 3: 1.0}), RUN).outcome is Outcome.DIFFERS


@pytest.mark.parametrize("outcome", Outcome)
def test_a_verdict_survives_the_wire(outcome: Outcome) -> None:
    found = (Difference("mlx", "1", "2"),)
    verdict = Verdict(outcome, 2, 0.1, None, "a", "b", ("f",), 2, 3, found)
    sent = verdict_to_proto(verdict)
    assert replay_pb2.ReplayOutcome.Name(sent.outcome) == f"REPLAY_OUTCOME_{outcome.upper()}"
    assert (sent.original_loss, sent.HasField("replayed_loss")) == (0.1, False)
    assert (list(sent.differing_files), sent.differences[0].then) == (["f"], "1")
    assert (sent.step, sent.compared_steps, sent.steps) == (2, 2, 3)
