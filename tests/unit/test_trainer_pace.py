"""What is still due of a run, and how long that takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.worker.pace import CHECKPOINT, VALIDATION, Due, Pace, Plan

SMALL = st.integers(1, 12)


@given(SMALL, SMALL, st.integers(0, 12), SMALL, st.data())
def test_what_is_due_is_what_the_loop_will_do(
    epochs: int, epoch_steps: int, validate_every: int, checkpoint_every: int, data: st.DataObject
) -> None:
    total = epochs * epoch_steps
    step = data.draw(st.integers(1, total))
    plan = Plan(total, epoch_steps, validate_every, checkpoint_every)
    rest = range(step, total + 1)
    validations = [n for n in rest if n % epoch_steps == 0 or n % (validate_every or total) == 0]
    checkpoints = [n for n in rest if n % checkpoint_every == 0 or n % epoch_steps == 0]
    assert checkpoints == [n for n in rest if plan.saves(n)]
    expected = len(validations) if validate_every else 0
    assert plan.due(step) == Due(total - step, expected, len(checkpoints))


def test_the_time_left_is_unknown_until_a_step_was_timed() -> None:
    pace = Pace()
    with pace.timed(VALIDATION):
        pass
    pace.stepped(60)
    assert pace.left(Due(5, 1, 1)) is None, "the first step warms up"
    pace.stepped(2)
    assert pace.left(Due(5, 0, 0)) == 10
    pace.stepped(3)
    assert pace.left(Due(5, 0, 0)) == pytest.approx(5 * 2.1)


def test_a_resumed_run_knows_at_once() -> None:
    pace = Pace({"step": 2.0, VALIDATION: 10.0, CHECKPOINT: 0.5})
    assert pace.left(Due(3, 2, 4)) == 6 + 20 + 2
    pace.stepped(60)
    assert pace.left(Due(3, 2, 4)) == 28


def test_what_was_broken_off_is_not_timed() -> None:
    pace = Pace()
    with pytest.raises(KeyError), pace.timed(CHECKPOINT):
        raise KeyError
    assert pace.means == {}
