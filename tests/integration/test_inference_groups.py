"""Rows of very different lengths, each group in passes of its own, and together again."""

from pathlib import Path

import pytest

from tests.fixtures.passes import Passes

SHORT = {1: [5, 6, 7], 2: [8, 9], 3: [10, 11, 12, 13], 4: [14]}
LONG = {5: [n % 200 + 20 for n in range(244)], 6: [n % 150 + 20 for n in range(240)]}
PROMPTS = {**SHORT, **LONG}


@pytest.fixture
def run(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Passes:
    found = Passes(tiny_model)
    from services.inference.engine import groups  # noqa: PLC0415  after MLX was prepared

    monkeypatch.setattr(groups, "LEAST_BYTES", 0)
    found.batch._generator = found.batch._new_generator()
    return found


def test_a_small_model_s_rows_stay_together(tiny_model: Path) -> None:
    run = Passes(tiny_model)
    begin(run)
    assert run.step() == [(len(PROMPTS), 1)]


def begin(run: Passes, tokens: int = 40) -> None:
    """Let the short ones generate, and the long ones come to them."""
    for request, prompt in SHORT.items():
        run.add(request, prompt, tokens)
    run.step()
    for request, prompt in LONG.items():
        run.add(request, prompt, tokens, logprobs=request == 5)
    while not all(run.told(request) for request in LONG):
        run.step()


def alone(folder: Path, tokens: int) -> dict[int, list[int]]:
    run = Passes(folder)
    for request, prompt in PROMPTS.items():
        run.add(request, prompt, tokens)
        run.finish()
    return {request: run.tokens(request) for request in PROMPTS}


def test_long_rows_are_computed_apart_and_answer_as_alone(run: Passes, tiny_model: Path) -> None:
    begin(run, tokens=150)
    assert run.step() == [(4, 1), (2, 1)], "four short rows' padding is dearer than a pass"
    run.finish()
    assert {request: run.tokens(request) for request in PROMPTS} == alone(tiny_model, 150)
    assert all(t.likelihood for t in run.told(5))
    assert not any(t.likelihood for t in run.told(6))


def test_few_short_rows_join_the_long_ones_once_the_others_have_gone(
    run: Passes, tiny_model: Path
) -> None:
    begin(run, tokens=150)
    run.batch.cancel(1)
    run.batch.cancel(3)
    run.batch.cancel(4)
    assert run.step() == [(3, 1)], "one row's padding is cheaper than a pass"
    run.batch.cancel(5)
    run.finish()
    expected = alone(tiny_model, 150)
    assert [run.tokens(r) for r in (2, 6)] == [expected[r] for r in (2, 6)]
    for request in (1, 3, 4, 5):
        told = run.tokens(request)
        assert 0 < len(told) < 150
        assert told == expected[request][: len(told)]
