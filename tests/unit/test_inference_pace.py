"""How much of prompts a step reads."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.pace import AT_ONCE, BatchLimits, Pace

LIMITS = BatchLimits(16, 8192, 8, prefill_step=128, prefill_shared=64, prefill_reach=2000)


def test_while_nobody_generates_every_prompt_is_read_in_large_pieces() -> None:
    assert Pace(LIMITS).piece(readers=8, generating=0, depth=5000) == 128


def test_while_somebody_generates_readers_share_a_piece_that_shrinks_as_they_get_on() -> None:
    pace = Pace(LIMITS)
    pieces = [pace.piece(readers=1, generating=1, depth=depth) for depth in (0, 2000, 6000)]
    assert pieces == [64, 32, 16]
    assert pace.piece(readers=4, generating=3, depth=0) == 16
    assert pace.piece(readers=12, generating=8, depth=0) == 8, "eight are read at a time"


def test_many_that_wait_for_few_are_read_faster() -> None:
    pace = Pace(LIMITS)
    assert pace.piece(readers=7, generating=1, depth=0) == 64
    assert pace.piece(readers=7, generating=2, depth=0) == 3 * 64 // 7
    assert pace.piece(readers=100, generating=1, depth=0) == 128


def test_a_short_prompt_that_comes_alone_is_read_at_once_and_counted_until_the_next_step() -> None:
    pace = Pace(LIMITS)
    pace.begin(newcomers=2)
    assert not pace.at_once(1)
    pace.begin(newcomers=1)
    assert not pace.at_once(AT_ONCE + 1)
    assert pace.at_once(AT_ONCE)
    assert pace.piece(readers=1, generating=3, depth=0) == 32
    pace.begin(newcomers=0)
    assert pace.piece(readers=1, generating=3, depth=0) == 64


def test_short_prompts_that_come_together_are_read_at_once_where_none_waits_for_them() -> None:
    pace = Pace(replace(LIMITS, ends_alone=True))
    pace.begin(newcomers=3, generating=1)
    assert not pace.at_once(1)
    pace.begin(newcomers=3, generating=0)
    assert [pace.at_once(rest) for rest in (AT_ONCE, AT_ONCE + 1, AT_ONCE, AT_ONCE)] == [
        True, False, True, True
    ]  # fmt: skip
    assert not pace.at_once(1), "more than so many came"


@given(st.integers(0, 64), st.integers(1, 20), st.integers(1, 15), st.integers(0, 100_000))
def test_a_step_reads_no_more_than_a_chunk_for_each_that_waits(
    rest: int, readers: int, generating: int, depth: int
) -> None:
    pace = Pace(LIMITS)
    pace.begin(newcomers=1)
    taken = rest * pace.at_once(rest)
    piece = pace.piece(readers=readers, generating=generating, depth=depth)
    together = min(readers, LIMITS.prefill_rows)
    assert 1 <= piece <= LIMITS.prefill_step
    assert taken + piece * together <= max(64 * max(1, readers // generating), taken + together)
