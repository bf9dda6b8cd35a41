"""Order and padding: pure functions of the seed, whole and fair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.batches import epoch_batches
from services.runtime.encoding import Example
from services.trainer.worker.data import derived_seed, pad

SEEDS = st.integers(0, 2**31 - 1)
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=200)


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


def test_padding_is_never_trained() -> None:
    examples = [
        Example(n, np.arange(1, n + 1, dtype=np.int32), np.ones(n, np.bool_), n) for n in (2, 5, 3)
    ]
    batch = pad(examples)
    assert batch.tokens.shape == (3, 5)
    assert batch.trained.sum(axis=1).tolist() == [2, 5, 3]
    assert batch.lines == (2, 5, 3)


def test_step_seeds_differ() -> None:
    seeds = {derived_seed(seed, step) for seed in range(20) for step in range(20)}
    assert len(seeds) == 400
    assert max(seeds) < 2**64
