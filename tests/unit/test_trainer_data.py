"""Split, order and padding: pure functions of the seed, whole and fair."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.worker.data import (
    Example,
    Row,
    derived_seed,
    epoch_batches,
    pad,
    read_rows,
    split,
)
from services.trainer.worker.failures import TrainingFailed, name_lines
from tests.fixtures.flips import flips

SEEDS = st.integers(0, 2**31 - 1)
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=200)


def rows(count: int) -> list[Row]:
    return [Row(n, str(n).encode(), {"text": "x"}) for n in range(1, count + 1)]


@given(LENGTHS, st.integers(1, 20), SEEDS, st.integers(0, 5))
def test_an_epoch_has_every_row_once(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, seed, epoch)
    assert batches == epoch_batches(lengths, size, seed, epoch)
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert sum(len(batch) < size for batch in batches) <= 1


def test_each_epoch_and_seed_has_its_own_order() -> None:
    lengths = [10] * 50
    orders = {str(epoch_batches(lengths, 4, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_batches_of_like_lengths_waste_little_padding() -> None:
    lengths = [10 + 37 * n % 400 for n in range(400)]
    padded = sum(
        max(lengths[n] for n in batch) * len(batch) for batch in epoch_batches(lengths, 8, 0, 0)
    )
    in_file_order = sum(max(lengths[n : n + 8]) * 8 for n in range(0, 400, 8))
    assert padded < 1.15 * sum(lengths) < in_file_order


@given(st.integers(1, 300), SEEDS, st.floats(0, 0.5))
def test_a_split_loses_and_doubles_nothing(count: int, seed: int, fraction: float) -> None:
    train, valid = split(rows(count), seed, fraction)
    assert sorted(row.line for row in train + valid) == list(range(1, count + 1))
    assert split(rows(count), seed, fraction) == (train, valid)
    assert fraction > 0 or not valid


def test_a_row_stays_on_its_side_when_others_come_and_go() -> None:
    first, second = split(rows(100), 5, 0.3), split(rows(200), 5, 0.3)
    assert {row.line for row in first[1]} <= {row.line for row in second[1]}
    assert 20 < len(second[1]) < 100


def test_equal_rows_land_on_one_side() -> None:
    doubled = [Row(n, b"same", {"text": "x"}) for n in range(20)]
    assert sorted(map(len, split(doubled, 1, 0.5))) == [0, 20]


def test_padding_is_never_trained() -> None:
    examples = [
        Example(n, np.arange(1, n + 1, dtype=np.int32), np.ones(n, np.bool_)) for n in (2, 5, 3)
    ]
    batch = pad(examples)
    assert batch.tokens.shape == (3, 5)
    assert batch.trained.sum(axis=1).tolist() == [2, 5, 3]
    assert batch.lines == (2, 5, 3)


def test_step_seeds_differ() -> None:
    seeds = {derived_seed(seed, step) for seed in range(20) for step in range(20)}
    assert len(seeds) == 400
    assert max(seeds) < 2**64


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    data = b'{"text": "a"}\r\n\n{"text": "b"}'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)

    found = read_rows(path, hashlib.sha256(data).hexdigest())
    assert [(row.line, row.content["text"]) for row in found] == [(1, "a"), (3, "b")]
    with pytest.raises(TrainingFailed) as caught:
        read_rows(path, "0" * 64)
    assert caught.value.reason == "ARTIFACT_CORRUPT"


def test_any_changed_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 50)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for _ in flips(path, times=300):
        with pytest.raises(TrainingFailed) as caught:
            read_rows(path, digest)
        assert caught.value.reason == "ARTIFACT_CORRUPT"
    assert len(read_rows(path, digest)) == 50


def test_lines_are_named_in_short() -> None:
    assert name_lines([7]) == "line 7"
    assert name_lines([1, 2]) == "lines 1, 2"
    assert name_lines(list(range(1, 13))) == "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"
