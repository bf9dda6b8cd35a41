"""The layers of mlx-lm that serve many adapters: linear ones, embeddings and experts.

Each computes what mlx-lm's own layer computes (mlx_lm.tuner.lora and dora), of each row with the
row's own adapter.
"""

from dataclasses import replace
from typing import Any, ClassVar, Self

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.quantized import QuantizedEmbedding, QuantizedLinear
from mlx_lm.models.switch_layers import (
    QuantizedSwitchLinear,
    SwitchGLU,
    SwitchLinear,
    SwitchMLP,
    _gather_sort,
)

from services.inference.engine.adapters.pairs import Adapted, Array, Pair, own_part
from services.inference.engine.adapters.routing import Router


class AdaptedLinear(Adapted):
    """A linear layer."""

    takes: ClassVar[tuple[type, ...]] = (Linear, QuantizedLinear)

    @staticmethod
    def shapes(base: Any, rank: int) -> dict[str, tuple[int, ...]]:
        """Give the shapes that mlx-lm's arrays of an adapter of this rank have."""
        outputs, inputs = _sides(base)
        return {"lora_a": (inputs, rank), "lora_b": (rank, outputs), "m": (outputs,)}

    def __call__(self, x: mx.array) -> mx.array:
        """Apply the layer to (rows, tokens, inputs), or (rows * tokens, inputs)."""
        return self._onto(self.base(x), x)

    def _onto(self, y: mx.array, x: mx.array) -> mx.array:
        """Add the rows' products to what the layer itself makes of x."""
        share = self._share()
        if share is None:
            return y
        x = self._ends.of(x)
        if x.ndim == 2:
            share = share.of_tokens(len(x))
        narrow = own_part(x @ share.a, share.own)
        return share.rescaled(y + (narrow @ share.b).astype(y.dtype))


class AdaptedEmbedding(AdaptedLinear):
    """An embedding, which may be the head as well: there it is a linear layer."""

    takes = (Embedding, QuantizedEmbedding)

    @staticmethod
    def shapes(base: Any, rank: int) -> dict[str, tuple[int, ...]]:
        """Give the shapes that mlx-lm's arrays of an adapter of this rank have."""
        tokens, width = _sides(base)
        return {"lora_a": (tokens, rank), "lora_b": (rank, width), "m": (tokens,)}

    @staticmethod
    def oriented(a: Array, b: Array) -> tuple[Array, Array]:
        """Turn them as the head's pair has them."""
        return b.T, a.T

    def __call__(self, tokens: mx.array) -> mx.array:
        """Look up (rows, tokens)."""
        y: mx.array = self.base(tokens)
        share = self._share()
        if share is None:
            return y
        narrow = own_part(share.b.T[tokens], share.own)
        y = y + (narrow @ share.a.T).astype(y.dtype)
        gain = share.gain
        if gain is None:
            return y
        own = gain[tokens] if gain.ndim == 1 else mx.take_along_axis(gain[:, 0], tokens, axis=1)
        return y * own[..., None].astype(y.dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        """Score the vocabulary for (rows, tokens, width)."""
        return self._onto(self.base.as_linear(x), x)


class AdaptedExperts(Adapted):
    """One of the layers of a mixture's experts."""

    takes = (SwitchLinear, QuantizedSwitchLinear)

    def __init__(self, base: Any, router: Router, routes: "Routes") -> None:
        """Take who knows whose each token is."""
        super().__init__(base, router)
        self._routes = routes

    @classmethod
    def within(cls, base: Any, parent: Any, router: Router) -> Self:
        """Wrap a layer of a SwitchGLU or SwitchMLP, and follow what that is called with."""
        if kind := _FOLLOWED.get(type(parent)):
            parent.__class__ = kind
            parent.routes = Routes(router)
        if isinstance(parent, _Followed):
            return cls(base, router, parent.routes)
        raise ValueError(
            f"experts are served within SwitchGLU and SwitchMLP, not {type(parent).__name__}"
        )

    @staticmethod
    def shapes(base: Any, rank: int) -> dict[str, tuple[int, ...]]:
        """Give the shapes that mlx-lm's arrays of an adapter of this rank have; DoRA has none."""
        experts, inputs, outputs = base.num_experts, base.input_dims, base.output_dims
        return {"lora_a": (experts, rank, inputs), "lora_b": (experts, outputs, rank)}

    @staticmethod
    def oriented(a: Array, b: Array) -> tuple[Array, Array]:
        """Turn each expert's."""
        return a.swapaxes(1, 2), b.swapaxes(1, 2)

    def put(self, slot: int, pair: Pair | None) -> None:
        """Fill a slot, or empty it."""
        super().put(slot, pair and _in_fours(pair))

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        """Apply each token's experts, as SwitchLinear does."""
        y: mx.array = self.base(x, indices, sorted_indices=sorted_indices)
        share = self._share()
        if share is None:
            return y
        chosen: Any = {"rhs_indices": indices, "sorted_indices": sorted_indices}
        own = share.own
        if own is not None:
            own = own[self._routes.sorted if sorted_indices else self._routes.rows]
        narrow = own_part(mx.gather_mm(x, share.a, **chosen), own)
        return y + mx.gather_mm(narrow, share.b, **chosen).astype(y.dtype)


class Routes:
    """Whose each token is that a mixture's experts are given, once they are sorted, too."""

    rows: mx.array
    """(..., 1) beside the experts (..., chosen) of each token."""
    sorted: mx.array
    """(tokens * chosen,), where the layers are given them by expert."""

    def __init__(self, router: Router) -> None:
        """Take who knows the rows."""
        self._router = router

    def hear(self, indices: mx.array) -> None:
        """Hear the experts of each token, all rows' in order."""
        router = self._router
        if not router.rows or router.only is not None:
            return
        tokens = indices.size // indices.shape[-1]
        rows = mx.arange(tokens) // (tokens // len(router.rows))
        self.rows = rows.reshape(*indices.shape[:-1], 1)
        # By the function that sorts the tokens themselves; computed only if a layer asks for it.
        self.sorted = _gather_sort(rows[:, None, None], indices)[0].flatten()  # type: ignore[no-untyped-call]


class _Followed(Module):
    """Experts that say what they are given before they sort it."""

    routes: Routes

    def __call__(self, x: mx.array, indices: mx.array) -> mx.array:
        """Apply the experts."""
        self.routes.hear(indices)
        y: mx.array = super().__call__(x, indices)
        return y


class _FollowedGLU(_Followed, SwitchGLU):
    """Three layers each."""


class _FollowedMLP(_Followed, SwitchMLP):
    """Two layers each."""


_FOLLOWED: dict[type, Any] = {SwitchGLU: _FollowedGLU, SwitchMLP: _FollowedMLP}


def _in_fours(pair: Pair) -> Pair:
    """Give a pair of experts with zeros up to a rank of fours.

    On CUDA MLX's gathered products (0.32.4) read so many numbers at a time wherever a row of them
    begins, and a fault ends all that the process could compute.
    """
    short = -pair.a.shape[-1] % 4
    if not short:
        return pair
    a = mx.pad(pair.a, [(0, 0), (0, 0), (0, short)])
    b = mx.pad(pair.b, [(0, 0), (0, short), (0, 0)])
    return replace(pair, a=a, b=b)


def kind_of(module: Any) -> type[Adapted] | None:
    """Tell what serves adapters of a layer; None if nothing does."""
    kinds = (AdaptedLinear, AdaptedEmbedding, AdaptedExperts)
    return next((kind for kind in kinds if isinstance(module, kind.takes)), None)


def _sides(base: Any) -> tuple[int, int]:
    outputs, inputs = base.weight.shape
    return outputs, inputs * 32 // base.bits if "scales" in base else inputs
