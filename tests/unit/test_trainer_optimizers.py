"""The learning rate of a step: a rise, a peak, a fall, and nothing remembered between steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.recipe import Optimizer, Recipe, Schedule
from services.trainer.worker.optimizers import learning_rate, make_optimizer


def rates(steps: int, warmup: int, schedule: Schedule) -> list[float]:
    recipe = Recipe(learning_rate=1.0, warmup_steps=warmup, schedule=schedule)
    return [learning_rate(recipe, step, steps) for step in range(1, steps + 1)]


def test_schedules_by_hand() -> None:
    assert rates(3, 0, Schedule.CONSTANT) == [1, 1, 1]
    assert rates(4, 0, Schedule.LINEAR) == [1, 0.75, 0.5, 0.25]
    assert rates(6, 2, Schedule.LINEAR) == [0.5, 1, 1, 0.75, 0.5, 0.25]
    assert rates(4, 2, Schedule.COSINE) == pytest.approx([0.5, 1, 1, 0.5])


@given(st.integers(1, 200), st.integers(0, 300), st.sampled_from(Schedule))
def test_it_rises_to_the_peak_and_never_again(steps: int, warmup: int, schedule: Schedule) -> None:
    found = rates(steps, warmup, schedule)
    rise, fall = found[:warmup], found[warmup:]
    assert all(0 < rate <= 1 for rate in found)
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert not fall or fall[0] == 1


@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_optimizer_is_mlxs_own(optimizer: Optimizer) -> None:
    made = make_optimizer(Recipe(optimizer=optimizer, learning_rate=0.5, weight_decay=0.25))
    assert type(made).__name__.lower() == optimizer
    assert made.learning_rate.item() == 0.5
    assert getattr(made, "weight_decay", 0.25) == 0.25
