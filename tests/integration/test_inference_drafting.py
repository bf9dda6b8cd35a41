"""Drafting in the batch, in this process: the same tokens in fewer passes, and when it stops."""

from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.events import Ended
from tests.fixtures.draft_bench import Bench, prompts
from tests.fixtures.tiny_model import EOS


@pytest.fixture(scope="module")
def bench(tiny_model: Path) -> Bench:
    return Bench(tiny_model)


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guess whenever there is a guess, however long it takes on this machine."""
    from services.inference.engine.proposers import Payoff  # noqa: PLC0415

    monkeypatch.setattr(Payoff, "resting", lambda _: False)


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.3, "top_p": 0.9, "seed": 5}])
def test_drafts_change_no_token(bench: Bench, sampling: dict[str, Any]) -> None:
    drafted = accepted = passes = plain_passes = 0
    for tokens in prompts(20):
        plain = [told.token for told in bench.alone(tokens, **sampling)]
        plain_passes += len(bench.passes)
        found = bench.alone(tokens, drafting=True, **sampling)
        assert [told.token for told in found] == plain
        passes += len(bench.passes)
        drafted += found[-1].drafted
        accepted += found[-1].accepted
    assert drafted > accepted > 0, "the drafts were never wrong, or never right"
    assert passes < plain_passes


@pytest.mark.usefixtures("sure")
def test_likelihoods_come_with_drafted_tokens(bench: Bench) -> None:
    fields = {"logprobs": True, "top_logprobs": 2}
    tokens = [7, 8, 9, 10] * 6
    plain, found = bench.alone(tokens, **fields), bench.alone(tokens, drafting=True, **fields)
    assert found[-1].accepted
    for one, other in zip(plain, found, strict=True):
        if one.likelihood and other.likelihood:
            assert one.likelihood.logprob == pytest.approx(other.likelihood.logprob, abs=1e-4)
            assert one.likelihood.top[0][0] == other.likelihood.top[0][0]


@pytest.mark.usefixtures("sure")
def test_a_row_goes_on_in_the_batch_where_drafting_left_it(bench: Bench) -> None:
    first, second = [7, 8, 9, 10] * 6, [30, 31, 32] * 9
    alone = {1: [t.token for t in bench.alone(first)], 2: [t.token for t in bench.alone(second)]}
    accepted = []
    for joins in range(3, 50, 7):
        bench.outcomes.clear()
        bench.add(1, first, drafting=True)
        while len(bench.told(1)) < joins:
            bench.batch.step()
        bench.add(2, second, drafting=True)
        bench.finish()
        assert {n: bench.tokens(n) for n in (1, 2)} == alone
        accepted.append(bench.told(1)[-1].accepted)
    assert len(set(accepted)) > 2, "the second row never joined amid drafts"


@pytest.mark.usefixtures("sure")
def test_max_tokens_and_the_end_token_bound_a_draft(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [7, 8, 9, 10] * 6
    whole = [told.token for told in bench.alone(tokens)]
    for most in (1, 2, 20, 21, 22, 23):
        found = bench.alone(tokens, drafting=True, max_tokens=most)
        assert [told.token for told in found] == whole[:most]
    end = next(token for place, token in enumerate(whole) if place > 30)
    first = whole.index(end)
    matcher = type(bench.batch._generator._default_stop_sequences)([[end]])
    monkeypatch.setattr(bench.batch._generator, "_default_stop_sequences", matcher)
    found = bench.alone(tokens, drafting=True)
    assert [told.token for told in found] == whole[: first + 1]
    assert not found[-1].visible
    assert [o.request for o in bench.outcomes if isinstance(o, Ended)] == [1]


@pytest.mark.usefixtures("sure")
def test_what_is_too_close_to_call_is_left_to_a_plain_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.inference.engine import drafting  # noqa: PLC0415

    tokens = [7, 8, 9, 10] * 6
    plain = [told.token for told in bench.alone(tokens)]
    for margin in (0.05, 0.5, 1e9):
        monkeypatch.setattr(drafting, "NOISE", {})
        monkeypatch.setattr(drafting, "COARSE", margin)
        assert [told.token for told in bench.alone(tokens, drafting=True)] == plain
    assert not bench.told(1)[-1].accepted, "nothing can be called with that margin"


@pytest.mark.parametrize("field", ["presence_penalty", "repetition_penalty"])
def test_penalties_are_not_drafted_for(bench: Bench, field: str) -> None:
    found = bench.alone([7, 8, 9, 10] * 6, drafting=True, **{field: 1.2})
    assert found[-1].drafted == 0


def test_guesses_that_fail_stop_for_longer_and_longer_and_come_back() -> None:
    from services.inference.engine.proposers import Payoff  # noqa: PLC0415

    payoff = Payoff()
    pauses = []
    for _ in range(7):
        tries = 0
        while not payoff.resting():
            payoff.book(tokens=1, steps=1.5)
            tries += 1
        assert tries == 4
        pauses.append(1 + sum(1 for _ in iter(payoff.resting, False)))
    assert pauses == [7, 15, 31, 63, 127, 255, 255]
    for _ in range(50):
        payoff.book(tokens=5, steps=1.5)
        assert not payoff.resting()


@pytest.mark.parametrize(
    ("length", "passes"),
    [(1, [(1, 3)]), (11, [(1, 33)]), (12, [(1, 35), (1, 1)])],
    ids=["short", "as long as one pass reads", "longer"],
)
def test_a_lone_rows_first_token_is_told_before_its_second_is_begun(
    bench: Bench, length: int, passes: list[tuple[int, int]]
) -> None:
    bench.outcomes.clear()
    bench.add(1, [7, 8, 9] * length, max_tokens=3, logit_bias={EOS: -100})
    bench.passes.clear()
    while not bench.told(1):
        bench.batch.step()
    first = bench.told(1)
    assert bench.passes == passes
    bench.finish()
    assert bench.told(1)[:1] == first
    assert len(bench.told(1)) == 3, "it is told once"


def test_a_short_prompt_is_read_in_one_pass_beside_others(bench: Bench) -> None:
    bench.alone([7, 8, 9], max_tokens=6, logit_bias={EOS: -100})
    alone = bench.tokens(1)
    bench.outcomes.clear()
    bench.add(2, list(range(3, 203)), max_tokens=40, logit_bias={EOS: -100})
    bench.add(3, list(range(20, 80)), max_tokens=40, logit_bias={EOS: -100})
    while not bench.told(3):
        bench.batch.step()
    bench.passes.clear()
    bench.add(1, [7, 8, 9], max_tokens=6, logit_bias={EOS: -100})
    while not bench.told(1):
        bench.batch.step()
    assert bench.passes.count((1, 3)) == 1
    bench.finish()
    assert bench.tokens(1) == alone


def test_short_prompts_that_had_to_wait_are_read_together(bench: Bench) -> None:
    short = {1: [7, 8, 9], 2: list(range(20, 45))}
    alone = {}
    for request, prompt in short.items():
        bench.alone(prompt, max_tokens=6, logit_bias={EOS: -100})
        alone[request] = bench.tokens(1)
    bench.outcomes.clear()
    for reader in (10, 11):  # as many as are read at a time
        bench.add(reader, list(range(3, 203)), max_tokens=2, logit_bias={EOS: -100})
    bench.batch.step()
    bench.passes.clear()
    for request, prompt in short.items():
        bench.add(request, prompt, max_tokens=6, logit_bias={EOS: -100})
        bench.batch.step()
    bench.finish()
    assert (2, 25) in bench.passes
    assert {request: bench.tokens(request) for request in short} == alone


@pytest.mark.parametrize("writers", [1, 2])
def test_between_two_tokens_a_piece_is_read_for_each_that_waits_for_one_that_generates(
    bench: Bench, writers: int
) -> None:
    bench.outcomes.clear()
    for writer in range(writers):
        bench.add(writer, [7, 8, 9 + writer], max_tokens=200, logit_bias={EOS: -100})
    while len(bench.told(0)) < 2:  # the first of a lone row comes a step early
        bench.batch.step()
    readers = {10: list(range(3, 203)), 11: list(range(3, 103))}
    for reader, prompt in readers.items():
        bench.add(reader, prompt, max_tokens=2, logit_bias={EOS: -100})
    while bench.batch.running > writers or bench.batch.waiting:
        before = len(bench.told(0))
        bench.passes.clear()
        bench.batch.step()
        assert len(bench.told(0)) == before + 1
        read = [rows * tokens for rows, tokens in bench.passes if tokens > 1]
        assert sum(read) <= 16 * (len(readers) // writers)
        assert len(read) <= 1
    bench.finish()
    assert len(bench.told(10)) == len(bench.told(11)) == 2


def test_a_prompt_alone_is_read_in_large_pieces(bench: Bench) -> None:
    bench.alone(list(range(3, 203)), max_tokens=1)
    assert (1, 64) in bench.passes
