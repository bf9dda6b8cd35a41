"""Which weights are kept and when patience runs out, beside a rule that sees all losses at once."""

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.worker.guards import GuardState

LOSSES = st.lists(st.floats(0, 10), min_size=1, max_size=30)


def judged(losses: list[float], min_delta: float) -> GuardState:
    state = GuardState()
    for step, loss in enumerate(losses):
        state = state.judged(step, loss, min_delta)
    return state


@given(LOSSES, st.floats(0, 2))
def test_the_first_of_the_lowest_is_kept(losses: list[float], min_delta: float) -> None:
    state = judged(losses, min_delta)
    assert state.kept_val_loss == min(losses)
    assert state.kept_step == losses.index(min(losses))


@given(LOSSES)
def test_without_a_delta_patience_counts_from_the_lowest(losses: list[float]) -> None:
    state = judged(losses, 0)
    assert state.unimproved == len(losses) - 1 - losses.index(min(losses))


@given(LOSSES, st.floats(0, 2))
def test_patience_counts_since_the_last_loss_that_was_lower_by_enough(
    losses: list[float], min_delta: float
) -> None:
    improved = [0]
    for step, loss in enumerate(losses):
        if loss < losses[improved[-1]] - min_delta:
            improved.append(step)
    assert judged(losses, min_delta).unimproved == len(losses) - 1 - improved[-1]


def test_losses_that_creep_down_add_up() -> None:
    """Each is kept; together they are an improvement in the end."""
    state = judged([1.0, 0.96, 0.92, 0.88], 0.1)
    assert (state.kept_step, state.unimproved) == (3, 0)
    assert judged([1.0, 0.96, 0.92], 0.1).unimproved == 2
