"""The split is a pure function of (seed, row); rows are read as they lie in the file."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import Invalid
from services.runtime.rows import (
    ChangedError,
    Side,
    Split,
    check_fractions,
    masks_prompt,
    read_rows,
)
from services.runtime.trainable import Lines, Untrainable, name_lines

SEEDS = st.integers(0, 2**31 - 1)
FRACTIONS = st.floats(0, 0.45)
DIGESTS = st.binary(min_size=32, max_size=32)


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(str(n).encode()).digest() for n in range(count)]


@given(SEEDS, FRACTIONS, FRACTIONS, st.lists(DIGESTS, min_size=1, max_size=30))
def test_a_side_depends_on_no_other_row_and_no_order(
    seed: int, valid: float, test: float, rows: list[bytes]
) -> None:
    split = Split(seed, valid, test)
    sides = {digest: split.side(digest) for digest in rows}
    shuffled = sorted(rows, key=lambda digest: hashlib.sha1(digest).digest())  # noqa: S324
    assert {digest: Split(seed, valid, test).side(digest) for digest in shuffled} == sides


@given(SEEDS, FRACTIONS, FRACTIONS, st.floats(0, 0.05), DIGESTS)
def test_raising_a_fraction_takes_from_training_only(
    seed: int, valid: float, test: float, more: float, digest: bytes
) -> None:
    before = Split(seed, valid, test).side(digest)
    for after, gains in (
        (Split(seed, valid, test + more).side(digest), Side.TEST),
        (Split(seed, valid + more, test).side(digest), Side.VALID),
    ):
        assert after == before or (before, after) == (Side.TRAIN, gains)


@given(SEEDS, FRACTIONS, DIGESTS)
def test_without_test_rows_the_split_is_what_it_was(
    seed: int, fraction: float, digest: bytes
) -> None:
    drawn = hashlib.sha256(f"split:{seed}:".encode() + digest).digest()[:6]
    held_out = int.from_bytes(drawn) / 2**48 < fraction
    assert Split(seed, fraction, 0.0).side(digest) is (Side.VALID if held_out else Side.TRAIN)


@given(SEEDS, st.sampled_from([0.0, 0.1, 0.25, 0.4]), st.sampled_from([0.0, 0.1, 0.5]))
def test_fractions_are_about_right(seed: int, valid: float, test: float) -> None:
    split, count = Split(seed, valid, test), 2000
    sides = [split.side(digest) for digest in digests(count)]
    for side, fraction in ((Side.VALID, valid), (Side.TEST, test)):
        # Six standard deviations of a fair draw.
        slack = 6 * (fraction * (1 - fraction) / count) ** 0.5
        assert abs(sides.count(side) / count - fraction) <= slack


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.4), (0.4, 0.5), (0, 0.5), (0, 0)])
def test_enough_is_left_to_train_on(valid: float, test: float) -> None:
    check_fractions(valid, test)
    with pytest.raises(Invalid) as caught:
        check_fractions(valid + 0.5, test + 0.5)
    assert caught.value.metadata == {"field": "test_fraction"}


def test_prompts_are_masked_where_there_are_any() -> None:
    assert [masks_prompt(asked, is_text=False) for asked in (None, True, False)] == [1, 1, 0]
    assert [masks_prompt(asked, is_text=True) for asked in (None, False)] == [0, 0]
    with pytest.raises(Invalid):
        masks_prompt(True, is_text=True)


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    data = b'{"text": "a"}\r\n\n{"text": "b"}\n{"text": "a"}'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    rows = list(read_rows(path, hashlib.sha256(data).hexdigest()))
    assert [(row.line, row.content["text"]) for row in rows] == [(1, "a"), (3, "b"), (4, "a")]
    assert rows[0].digest == rows[2].digest != rows[1].digest
    with pytest.raises(ChangedError):
        next(read_rows(path, "0" * 64))


def test_lines_are_named_in_short() -> None:
    assert name_lines([7]) == "line 7"
    assert name_lines([1, 2]) == "lines 1, 2"
    assert name_lines(list(range(1, 13))) == "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"
    lines = Lines()
    for line in range(1, 301):
        lines.add(line)
    assert (lines.count, len(lines.first)) == (300, 100)
    assert str(lines).endswith("10 and 290 more")


def test_a_complaint_names_all_that_is_wrong() -> None:
    found = Untrainable()
    assert found.complaint(8) == ""
    found.refuse(3, "roles must alternate")
    found.refuse(5, "something else")
    found.masked.add(4)
    assert found.complaint(8) == (
        "lines 3, 5 of the dataset: roles must alternate; "
        "line 4 of the dataset: no token to train on within 8 tokens; "
        "raise max_seq_length or remove the rows"
    )
