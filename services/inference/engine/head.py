"""The head on a CPU: the vocabulary's product in blocks, and only for the tokens that ask for it.

Few rows times one large matrix are OpenBLAS's worst case: it packs what it multiplies, and packed
pieces of a matrix of 50,000 rows leave the cache before they are used. docs/adr/0045 has numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear

BLOCK_BYTES = 768 * 576 * 4
MOST_ROWS = 16
"""Tokens at a time, beyond which OpenBLAS's own way is as fast."""


class Ends:
    """Which token of each row the head is asked about, if not about all."""

    def __init__(self) -> None:
        """Ask about all."""
        self.at: mx.array | None = None
        """Places in the rows, (rows, 1, 1)."""

    @contextmanager
    def asked(self, at: mx.array) -> Iterator[mx.array]:
        """Ask about one token of each row, at these places (rows, 1, 1), while a pass is built."""
        self.at = at
        try:
            yield at
        finally:
            self.at = None

    def of(self, x: mx.array) -> mx.array:
        """Give what was asked for of (rows, tokens, inputs)."""
        return x if self.at is None else mx.take_along_axis(x, self.at, axis=1)


class LinearHead(Linear):
    """A head of its own."""

    ends: Ends

    def __call__(self, x: mx.array) -> mx.array:
        """Score the vocabulary for (rows, tokens, inputs)."""
        y = _product(self.ends.of(x), self.weight)
        return y + self.bias if "bias" in self else y


class EmbeddingHead(Embedding):
    """An embedding that is the head, too."""

    ends: Ends

    def as_linear(self, x: mx.array) -> mx.array:
        """Score the vocabulary for (rows, tokens, inputs)."""
        return _product(self.ends.of(x), self.weight)


def quicken_head(model: Module) -> Ends:
    """Make a dense model's head compute so; give the way to ask it about some tokens alone."""
    ends, modules = Ends(), list[Any](model.modules())  # type: ignore[no-untyped-call]
    embeddings = [module for module in modules if type(module) is Embedding]
    sizes = {module.weight.shape for module in embeddings}
    heads = [m for m in modules if type(m) is Linear and m.weight.shape in sizes]
    kinds: list[Any] = [EmbeddingHead] * len(embeddings) + [LinearHead] * len(heads)
    for module, kind in zip((*embeddings, *heads), kinds, strict=True):
        module.__class__ = kind
        module.ends = ends
    return ends


def _product(x: mx.array, weight: mx.array) -> mx.array:
    """Multiply (..., inputs) by (outputs, inputs) transposed."""
    outputs, inputs = weight.shape
    rows, step = x.size // inputs, _block(outputs, inputs)
    if rows > MOST_ROWS or not step:
        return x @ weight.T
    # One batched product: as many of their own would cost what they gain.
    blocks = weight.reshape(-1, step, inputs).swapaxes(1, 2)
    y = x.reshape(1, rows, inputs) @ blocks
    return y.swapaxes(0, 1).reshape(*x.shape[:-1], outputs)


@cache
def _block(outputs: int, inputs: int) -> int:
    """Give the largest fitting block that divides the outputs; 0 where none is near that size."""
    most = max(1, BLOCK_BYTES // (4 * inputs))
    return next((size for size in range(most, most // 4, -1) if outputs % size == 0), 0)
