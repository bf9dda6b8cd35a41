"""Near duplicates: the estimate is near the truth, and the work has a bound that is admitted."""

import random

import numpy as np
import pytest

from services.runtime.report import near
from services.runtime.report.near import NearIndex, signature, text_of


def words(random: random.Random, count: int) -> list[str]:
    return ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count)]


def jaccard(first: str, second: str) -> float:
    a, b = ({text[n : n + 5] for n in range(len(text) - 4)} for text in (first, second))
    return len(a & b) / len(a | b)


def test_the_estimate_is_near_the_truth() -> None:
    source, errors = random.Random(1), []  # noqa: S311
    for _ in range(100):
        text = words(source, 60)
        other = [*text]
        for place in source.sample(range(60), source.randrange(1, 12)):
            other[place] = words(source, 1)[0]
        pair = " ".join(text), " ".join(other)
        estimate = (signature(pair[0]) == signature(pair[1])).mean()
        errors.append(estimate - jaccard(*pair))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.05


def test_pairs_are_found_whatever_their_case_and_spaces() -> None:
    source, index = random.Random(2), NearIndex()  # noqa: S311
    texts = [" ".join(words(source, 30)) for _ in range(300)]
    alike = {17: texts[3].upper(), 200: texts[100] + "  x", 299: texts[3] + "\n"}
    for place, text in enumerate(texts):
        assert index.add(alike.get(place, text))
    found = [(pair.first, pair.second) for pair in index.pairs()]
    assert found == [(3, 17), (3, 299), (17, 299), (100, 200)]
    assert index.complete
    first = index.pairs()[0]
    assert first.similarity == 1.0


def test_short_and_odd_texts_have_signatures() -> None:
    index = NearIndex()
    for text in ("", " ", "a", "abcd", "\ud800", "日本語のテキスト", "日本語のテキスト"):
        index.add(text)
    assert {(0, 1), (5, 6)} == {(pair.first, pair.second) for pair in index.pairs()}
    assert NearIndex().pairs() == []


@pytest.mark.parametrize(
    ("bound", "value"), [("MAX_ROWS", 3), ("MAX_CHARACTERS", 20), ("MAX_NEIGHBOURS", 3)]
)
def test_bounded_work_says_that_there_may_be_more(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(near, bound, value)
    index = NearIndex()
    for _ in range(8):
        index.add("the same text")
    assert index.pairs()
    assert not index.complete


def test_too_many_candidates_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MAX_CANDIDATES", 4)
    index = NearIndex()
    for _ in range(8):
        index.add("the same text")
    assert len(index.pairs()) == 4
    assert not index.complete


def test_the_words_of_a_row_do_not_depend_on_its_shape() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert text_of({"messages": turns}) == text_of({"completion": "a", "prompt": "q"}) == "q\na"
    assert text_of({"text": "t", "id": 1}) == "t"
