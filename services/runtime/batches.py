"""Which rows a step takes together: a pure function of the seed, the epoch and the lengths."""

from collections.abc import Sequence
from itertools import batched

from services.runtime.rows import draw

# Batches are cut from pools of this many batches, sorted by length: padding stays
# small and the order is still mostly random.
POOL_BATCHES = 8


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """Give the epoch's batches as row indices: every row once, similar lengths together."""

    def rank(what: str, index: int) -> float:
        return draw(f"{what}:{seed}:{epoch}:{index}".encode())

    order = sorted(range(len(lengths)), key=lambda index: rank("row", index))
    cut: list[tuple[int, ...]] = []
    for pool in batched(order, POOL_BATCHES * batch_size):
        cut += batched(sorted(pool, key=lambda index: lengths[index]), batch_size)
    return [cut[n] for n in sorted(range(len(cut)), key=lambda n: rank("batch", n))]
