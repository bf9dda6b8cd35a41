"""How much of prompts a step reads."""

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.pace import AT_ONCE, BatchLimits, Pace

LIMITS = BatchLimits(16, 8192, 8, prefill_step=128, prefill_shared=64, prefill_reach=2000)


def test_while_nobody_generates_every_prompt_is_read_in_large_pieces() -> None:
    pace = Pace(LIMITS)
    assert pace.piece(readers=8, generating=0, depth=5000) == 128
    assert all(pace.at_once(AT_ONCE, generating=0) for _ in range(8))
    assert not pace.at_once(AT_ONCE, generating=0), "eight are read at a time"
    assert not Pace(LIMITS).at_once(AT_ONCE + 1, generating=0)


def test_while_somebody_generates_readers_share_a_piece_that_shrinks_as_they_get_on() -> None:
    pace = Pace(LIMITS)
    pieces = [pace.piece(readers=1, generating=1, depth=depth) for depth in (0, 2000, 6000)]
    assert pieces == [64, 32, 16]
    assert pace.piece(readers=4, generating=1, depth=0) == 16
    assert pace.piece(readers=100, generating=1, depth=0) == 8, "eight are read at a time"


def test_short_prompts_that_were_read_at_once_are_counted_until_the_next_step() -> None:
    pace = Pace(LIMITS)
    assert [pace.at_once(30, generating=3) for _ in range(5)] == [True] * 4 + [False]
    assert pace.piece(readers=1, generating=3, depth=0) == 8, "what is left, and never nothing"
    pace.begin()
    assert pace.at_once(30, generating=3)
    assert pace.piece(readers=1, generating=3, depth=0) == 34


@given(
    st.lists(st.integers(0, 64), max_size=20),
    st.integers(1, 20),
    st.integers(1, 15),
    st.integers(0, 100_000),
)
def test_a_step_reads_no_more_than_a_step_and_a_piece(
    rests: list[int], readers: int, generating: int, depth: int
) -> None:
    pace = Pace(LIMITS)
    taken = sum(rest for rest in rests if pace.at_once(rest, generating=generating))
    piece = pace.piece(readers=readers, generating=generating, depth=depth)
    assert taken <= LIMITS.prefill_step
    assert 1 <= piece * min(readers, LIMITS.prefill_rows) <= max(64, 8)
