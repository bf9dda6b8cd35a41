"""A draft model beside the one that is served: the same tokens in fewer passes, or none of it."""

import json
import random
import shutil
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.inference.engine.proposers import LONGEST, Lookup
from services.runtime.folder import FolderError
from tests.fixtures.draft_bench import Bench, draft_model, prompts
from tests.fixtures.tiny_model import VOCABULARY, write_tiny_model

WILD: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "seed": 5}


@pytest.fixture(scope="module")
def pairs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    folder = tmp_path_factory.mktemp("stranger")
    write_tiny_model(folder, seed=8)
    return {name: Bench(tiny_model, path) for name, path in (("", tiny_model), ("x", folder))}


def afresh(bench: Bench) -> Bench:
    bench.draft.tally = type(bench.draft.tally)()
    return bench


@pytest.fixture
def twins(pairs: dict[str, Bench]) -> Bench:
    """Give the tiny model with itself as the draft model."""
    return afresh(pairs[""])


@pytest.fixture
def strangers(pairs: dict[str, Bench]) -> Bench:
    """Give it with one of the same tokens that knows nothing of what it says."""
    return afresh(pairs["x"])


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave all guesses to the draft model."""
    monkeypatch.setattr(Lookup, "ready", lambda *_: False)


def tokens_of(bench: Bench, prompt: list[int], **fields: Any) -> list[int]:
    return [told.token for told in bench.alone(prompt, **fields)]


@pytest.mark.usefixtures("silent")
def test_what_speaks_alike_is_taken_in_far_fewer_passes(twins: Bench) -> None:
    for prompt in prompts(4):
        plain = tokens_of(twins, prompt)
        passes = len(twins.passes)
        assert not twins.drafted
        found = twins.alone(prompt, drafting=True)
        assert [told.token for told in found] == plain
        assert found[-1].draft_model == "small"
        assert found[-1].accepted >= found[-1].drafted - LONGEST, "only the last goes too far"
        assert len(twins.passes) < passes / 2


@pytest.mark.parametrize("sampling", [{}, WILD])
def test_no_draft_changes_a_token(twins: Bench, strangers: Bench, sampling: dict[str, Any]) -> None:
    for prompt in prompts(2):
        plain = tokens_of(twins, prompt, **sampling)
        for bench in (twins, strangers):
            assert tokens_of(afresh(bench), prompt, drafting=True, **sampling) == plain
            assert bench.drafted


@pytest.mark.usefixtures("silent")
def test_a_stranger_is_asked_less_and_less(strangers: Bench) -> None:
    prompt = prompts(1)[0]
    told = strangers.alone(prompt, drafting=True, max_tokens=200, **WILD)
    halves = told[len(told) // 2].drafted, told[-1].drafted
    assert 0 < halves[1] - halves[0] < halves[0] < 150
    assert not strangers.alone(prompt, drafting=True, max_tokens=8)[-1].drafted, "of all rows"


@pytest.mark.usefixtures("silent")
def test_a_prompt_is_read_in_pieces_between_tokens_where_that_is_worth_it(twins: Bench) -> None:
    draw = random.Random(3)  # noqa: S311
    prompt = [draw.randrange(3, 250) for _ in range(203)]
    twins.alone(prompt, drafting=True, max_tokens=20)
    assert not twins.drafted, "the answer is too short for so long a prompt"
    twins.alone(prompt, drafting=True, max_tokens=60)
    read = list(takewhile(lambda tokens: tokens > 1, (tokens for _, tokens in twins.drafted)))
    assert set(read[:-1]) == {16}
    assert sum(read) - len(prompt) >= len(read), "a token came between each two pieces"


@pytest.mark.usefixtures("silent")
def test_a_row_that_was_not_alone_for_a_while_is_drafted_for_again(twins: Bench) -> None:
    first, second = prompts(2)
    alone = {n: tokens_of(twins, p, max_tokens=150) for n, p in ((1, first), (2, second))}
    twins.outcomes.clear()
    twins.add(1, first, drafting=True, max_tokens=150)
    while len(twins.told(1)) < 20:
        twins.batch.step()
    twins.add(2, second, drafting=True, max_tokens=12)
    while twins.batch.running and len(twins.told(2)) < 12:
        twins.batch.step()
    before = twins.told(1)[-1].drafted
    twins.finish()
    assert (twins.tokens(1), twins.tokens(2)) == (alone[1], alone[2][:12])
    assert twins.told(1)[-1].drafted > before > 0


def test_the_draft_keeps_in_step_whatever_is_taken_of_its_guesses(tiny_model: Path) -> None:
    draw = random.Random(4)  # noqa: S311
    kept = draft_model(tiny_model, tiny_model, piece=16)
    text: list[int] = []
    for _ in range(25):
        if draw.random() < 0.15:  # another row, that begins alike or does not
            text = text[: draw.randrange(len(text) + 1)]
        text += [draw.randrange(3, 250) for _ in range(draw.choice((1, 1, 2, 40)))]
        now, count = np.array(text[:-1], np.int32), draw.randint(2, 17)
        guess = next(filter(None, (kept.guess(now, text[-1], count) for _ in range(40))))
        assert guess == again(kept, len(VOCABULARY)).guess(now, text[-1], count)
        assert (guess[0], len(guess)) == (text[-1], count)
        text += guess[1 : draw.randint(1, count)]


def again(draft: Any, vocabulary: int, room: int = 1000) -> Any:
    """Give the same draft model, which has read nothing."""
    return type(draft)("small", draft._model, vocabulary=vocabulary, room=room, piece=room)


def test_texts_beyond_its_room_and_tokens_beyond_its_own_are_no_fault(twins: Bench) -> None:
    draft = again(twins.draft, vocabulary=50, room=64)
    text = np.array([7, 249, 8], np.int32)
    assert draft.ready(text, 100)
    assert max(draft.guess(text, 200, 6)[1:]) < 50
    assert not draft.ready(np.zeros(60, np.int32), 100)


def test_a_draft_model_that_raises_fails_no_request(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench, prompt = Bench(tiny_model, tiny_model), prompts(1)[0]
    plain = tokens_of(bench, prompt)
    bench.draft._model = None.__class__  # raises when it is called with anything
    assert tokens_of(bench, prompt, drafting=True) == plain
    assert tokens_of(bench, prompt, drafting=True) == plain
    assert [record.message for record in caplog.records] == [
        "the draft model small failed; it is not asked again"
    ]


def changed(folder: Path, tiny_model: Path, file: str, **fields: Any) -> Path:
    """Copy the tiny model, with other fields in one of its files."""
    shutil.copytree(tiny_model, folder)
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **fields}))
    return folder


def test_only_a_model_of_the_same_tokens_may_draft(tiny_model: Path, tmp_path: Path) -> None:
    stored = json.loads((tiny_model / "tokenizer.json").read_text())
    vocabulary = {**stored["model"]["vocab"], VOCABULARY[9]: 10, VOCABULARY[10]: 9}
    plain = [{**token, "special": False} for token in stored["added_tokens"]]
    others: dict[str, Any] = {
        "swapped": {"model": {**stored["model"], "vocab": vocabulary}},
        "plain": {"added_tokens": plain},
    }
    for name, fields in others.items():
        folder = changed(tmp_path / name, tiny_model, "tokenizer.json", **fields)
        with pytest.raises(FolderError, match=r"model small .* other tokens; [23] differ"):
            draft_model(tiny_model, folder)
    same = changed(tmp_path / "same", tiny_model, "tokenizer.json", truncation=None)
    assert draft_model(tiny_model, same)
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64}
    sliding = changed(tmp_path / "sliding", tiny_model, "config.json", **layers)
    with pytest.raises(FolderError, match=r"draft model small .* MLX_HUB_DRAFT_MODELS"):
        draft_model(tiny_model, sliding)
