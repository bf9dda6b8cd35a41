"""What DoRA adds to LoRA, reckoned once when an adapter is stored and not at each step.

DoRA's layer (mlx_lm.tuner.dora) answers m / |W + (a b)ᵀ| * (x Wᵀ + x a b) + bias, the norm taken
over each output's row; all but x is fixed once the weights are.
"""

from typing import Any

import mlx.core as mx


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
        weight = _dense(linear)
        if name not in self._squares:
            self._squares[name] = mx.square(weight.astype(mx.float32)).sum(axis=1)
        beside = b.T * (2 * (weight @ a) + b.T @ (a.T @ a))
        gain = m / mx.sqrt(self._squares[name] + beside.sum(axis=1))
        shift = (1 - gain) * linear.bias if "bias" in linear else None
        if "scales" in linear:
            # At once, or the dense forms of all layers would be there together.
            mx.eval(gain, shift, self._squares[name])
        return gain, shift


def _dense(linear: Any) -> mx.array:
    weight: mx.array = linear.weight
    if "scales" not in linear:
        return weight
    shape = {"group_size": linear.group_size, "bits": linear.bits, "mode": linear.mode}
    return mx.dequantize(weight, linear.scales, linear.get("biases"), **shape)
