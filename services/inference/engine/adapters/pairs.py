"""Many adapters' pairs in one layer, and what of them the rows of the running pass take."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module
from numpy.typing import NDArray

from services.inference.engine.adapters.routing import Columns, Router
from services.inference.engine.head import Ends

type Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """One adapter in one layer: x @ a @ b is added, the scale multiplied into b.

    (inputs, rank) and (rank, outputs), or as many of each as there are experts. With DoRA the sum
    is multiplied by `gain`, one number an output; `shift` is what keeps the layer's own bias out of
    that.
    """

    a: mx.array
    b: mx.array
    gain: mx.array | None = None
    shift: mx.array | None = None

    @property
    def arrays(self) -> list[mx.array]:
        """Give what it is made of."""
        return [array for array in (self.a, self.b, self.gain, self.shift) if array is not None]


class Mix(NamedTuple):
    """Some adapters' pairs side by side: two products serve all rows, whosever they are."""

    slots: tuple[int, ...]
    """What was asked for; some have nothing in this layer."""
    columns: Columns
    a: mx.array
    b: mx.array
    doras: frozenset[int] = frozenset()
    gains: mx.array | None = None
    """(1 + pairs, outputs) if there is DoRA; the first row and those of plain LoRA are ones."""
    shifts: mx.array | None = None
    """The same, zeros where nothing is shifted, if the layer has a bias."""


class Share(NamedTuple):
    """What the rows of a pass take: one pair, or those of a mix that are their own."""

    a: mx.array
    b: mx.array
    own: mx.array | None = None
    """(rows, 1, ranks): true where a column of x @ a is the row's own; None where all are."""
    gain: mx.array | None = None
    """(outputs,) or (rows, 1, outputs)."""
    shift: mx.array | None = None
    """The same."""

    def of_tokens(self, count: int) -> "Share":
        """Give each token what its row takes, for a layer that is given all in one axis."""
        parts = (self.own, self.gain, self.shift)
        return Share(self.a, self.b, *(_repeated(part, count) for part in parts))

    def rescaled(self, y: mx.array) -> mx.array:
        """Do what DoRA does to the sum (..., outputs)."""
        if self.gain is None:
            return y
        y = y * self.gain.astype(y.dtype)
        return y if self.shift is None else y + self.shift.astype(y.dtype)


class Adapted(Module, ABC):
    """A layer that adds each row's own low-rank product."""

    takes: ClassVar[tuple[type, ...]] = ()
    """The layers that it can wrap."""

    def __init__(self, base: Any, router: Router) -> None:
        """Wrap a layer without adapters."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.base = base
        self._router = router
        self._ends: Ends = getattr(base, "ends", None) or Ends()
        self._pairs: dict[int, Pair] = {}
        self._mix: Mix | None = None

    @classmethod
    def within(cls, base: Any, _parent: Any, router: Router) -> Self:
        """Wrap a layer of `parent`; raises ValueError where that calls it in a way of its own."""
        return cls(base, router)

    @staticmethod
    @abstractmethod
    def shapes(base: Any, rank: int) -> dict[str, tuple[int, ...]]:
        """Give the shapes that mlx-lm's arrays of an adapter of this rank have."""

    @staticmethod
    def oriented(a: Array, b: Array) -> tuple[Array, Array]:
        """Turn mlx-lm's arrays as a pair has them."""
        return a, b

    def put(self, slot: int, pair: Pair | None) -> None:
        """Fill a slot, or empty it."""
        self._pairs.pop(slot, None)
        if pair is not None:
            self._pairs[slot] = pair
        if self._mix is not None and slot in self._mix.slots:
            self._mix = None

    def _share(self) -> Share | None:
        """Give what the rows of this pass take; None if nothing."""
        router = self._router
        if not router.rows:
            return None
        if router.only is not None:
            pair = self._pairs.get(router.only)
            return None if pair is None else Share(pair.a, pair.b, None, pair.gain, pair.shift)
        if self._mix is None or self._mix.slots != router.mixed:
            self._mix = self._side_by_side(router.mixed)
        mix = self._mix
        if not mix.columns:
            return None
        own = router.mask(mix.columns)
        if mix.gains is None or mix.doras.isdisjoint(router.rows):
            return Share(mix.a, mix.b, own)
        places = router.places(mix.columns)
        shift = None if mix.shifts is None else mix.shifts[places][:, None]
        return Share(mix.a, mix.b, own, mix.gains[places][:, None], shift)

    def _side_by_side(self, slots: tuple[int, ...]) -> Mix:
        found = {slot: self._pairs[slot] for slot in slots if slot in self._pairs}
        if not found:
            return Mix(slots, (), mx.array([]), mx.array([]))
        pairs = list(found.values())
        columns = tuple((slot, pair.a.shape[-1]) for slot, pair in found.items())
        a = mx.concatenate([pair.a for pair in pairs], axis=-1)
        b = mx.concatenate([pair.b for pair in pairs], axis=-2)
        doras = frozenset(slot for slot, pair in found.items() if pair.gain is not None)
        if not doras:
            return Mix(slots, columns, a, b)
        one = mx.ones(b.shape[-1])
        gains = [one, *(one if pair.gain is None else pair.gain for pair in pairs)]
        shifts = [0 * one, *(0 * one if pair.shift is None else pair.shift for pair in pairs)]
        shifted = any(pair.shift is not None for pair in pairs)
        shift = mx.stack(shifts) if shifted else None
        return Mix(slots, columns, a, b, doras, mx.stack(gains), shift)


def own_part(narrow: mx.array, own: mx.array | None) -> mx.array:
    """Keep of x @ a what is the row's own adapter's."""
    # Not multiplied: whatever another adapter makes of this row, nothing of it is left.
    return narrow if own is None else mx.where(own, narrow, 0)


def _repeated(part: mx.array | None, count: int) -> mx.array | None:
    """Turn (rows, 1, n) into (count, n); what is every row's stays."""
    if part is None or part.ndim == 1:
        return part
    return mx.repeat(part[:, 0], count // len(part), axis=0)
