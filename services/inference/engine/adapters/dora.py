"""What DoRA adds to LoRA, reckoned once when an adapter is stored and not at each step.

DoRA's layer (mlx_lm.tuner.dora) answers m / |W + (a b)ᵀ| * (x Wᵀ + x a b) + bias, the norm taken
over each output's row; all but x is fixed once the weights are.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

# Of a layer's weights, dense at a time: 64 MiB as float32.
BLOCK_NUMBERS = 16 << 20


class Norms:
    """The base layers' squared norms, which all DoRA adapters share: (outputs,) of each."""

    def __init__(self) -> None:
        """Start empty."""
        self._squares: dict[str, mx.array] = {}

    def gain(
        self, name: str, linear: Any, a: mx.array, b: mx.array, m: mx.array
    ) -> tuple[mx.array, mx.array | None]:
        """Give the factor of each output, and what keeps the layer's bias out of it.

        |w + d|² = |w|² + 2 w·d + |d|² with d = (a b)ᵀ: two products with the low-rank sides
        instead of a matrix as large as the layer.
        """
        if name not in self._squares:
            self._squares[name] = _of_blocks(linear, len(a), _squares)
        products = _of_blocks(linear, len(a), lambda weight: weight @ a)
        beside = b.T * (2 * products + b.T @ (a.T @ a))
        gain = m / mx.sqrt(self._squares[name] + beside.sum(axis=1))
        shift = (1 - gain) * linear.bias if "bias" in linear else None
        return gain, shift


def _squares(weight: mx.array) -> mx.array:
    return mx.square(weight.astype(mx.float32)).sum(axis=1)


def _of_blocks(linear: Any, inputs: int, computed: Callable[[mx.array], mx.array]) -> mx.array:
    """Compute of some rows of the weights at a time, and evaluate.

    The dense forms of all layers together, or of an embedding, are memory that nobody forecast.
    """
    parts = [linear.weight, *(linear.get(name) for name in ("scales", "biases"))]
    step = max(1, BLOCK_NUMBERS // inputs)
    found = []
    for begin in range(0, len(parts[0]), step):
        some = [None if part is None else part[begin : begin + step] for part in parts]
        found.append(computed(_dense(linear, *some)))
        mx.eval(found[-1])
    return mx.concatenate(found)


def _dense(linear: Any, weight: Any, scales: Any, biases: Any) -> mx.array:
    if scales is None:
        return weight  # type: ignore[no-any-return]
    shape = {"group_size": linear.group_size, "bits": linear.bits, "mode": linear.mode}
    return mx.dequantize(weight, scales, biases, **shape)
