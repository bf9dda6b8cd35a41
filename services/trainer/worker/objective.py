"""The loss of a batch's trained tokens, with logits for those tokens alone.

Most of a small model's step goes into logits, and with masked prompts most of them would be thrown
away. So the head is handed only the positions that are trained. And dropout draws by keys that are
arguments, not from a generator: a layer that is computed twice drops the same the second time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.nn.layers.dropout import Dropout
from mlx.nn.losses import cross_entropy

from services.trainer.worker.data import Batch


def arrays(batch: Batch) -> tuple[mx.array, mx.array, mx.array]:
    """Give a batch's inputs, its trained positions among them, and the tokens to predict there."""
    positions = np.flatnonzero(batch.trained[:, 1:])
    targets = batch.tokens[:, 1:].reshape(-1)[positions]
    return mx.array(batch.tokens[:, :-1]), mx.array(positions), mx.array(targets)


class Objective:
    """One model's loss; its head and its dropouts ask here what is trained and what is dropped."""

    def __init__(self, model: Any) -> None:
        """Take over the model's head and dropouts."""
        self._positions = mx.array([])
        self._selected = False
        self._keys = mx.array([])
        self._dropouts = 0
        self._heads: list[tuple[Any, type, type]] = []
        for name, module in model.named_modules():
            if isinstance(module, Dropout):
                module.__class__ = _KeyedDropout
                module.objective, module.number = self, self._dropouts
                self._dropouts += 1
            elif name.rpartition(".")[2] == "lm_head":
                self._take(module, "__call__")
            elif hasattr(module, "as_linear"):
                self._take(module, "as_linear")

    def __call__(
        self,
        model: Any,
        inputs: mx.array,
        positions: mx.array,
        targets: mx.array,
        total: mx.array,
        key: mx.array,
    ) -> mx.array:
        """Give the sum of the losses over `total`, the number of trained tokens in the step."""
        if self._dropouts:
            self._keys = mx.random.split(key, self._dropouts)
        self._positions, self._selected = positions, False
        logits = model(inputs)
        logits = logits.reshape(-1, logits.shape[-1])
        # Not every architecture's head is found; then all logits are there.
        if not self._selected:
            logits = logits[positions]
        return cross_entropy(logits, targets).astype(mx.float32).sum() / total

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the head back for as long as the model is to write, not to be trained."""
        for module, own, _ in self._heads:
            module.__class__ = own
        try:
            yield
        finally:
            for module, _, ours in self._heads:
                module.__class__ = ours

    def _take(self, module: Any, method: str) -> None:
        own = type(module)
        module.__class__ = self._selecting(own, method)
        self._heads.append((module, own, type(module)))

    def key(self, number: int) -> mx.array:
        """Give the key of a dropout, the same until the next loss."""
        return self._keys[number]

    def _selecting(self, kind: type, method: str) -> type:
        """Derive a class whose `method` computes the trained positions only."""
        whole = getattr(kind, method)

        def of_trained(module: Any, x: mx.array) -> mx.array:
            self._selected = True
            rows = x.reshape(-1, x.shape[-1])[self._positions]
            logits: mx.array = whole(module, rows[None])
            return logits

        return type(kind.__name__, (kind,), {method: of_trained})


class _KeyedDropout(Dropout):
    """mlx's dropout with a key from its objective."""

    objective: Objective
    number: int

    def __call__(self, x: mx.array) -> mx.array:
        """Drop."""
        if self._p_1 == 1 or not self.training:
            return x
        mask = mx.random.bernoulli(self._p_1, x.shape, key=self.objective.key(self.number))
        return (mask * x) * (1 / self._p_1)
