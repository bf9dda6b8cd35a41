"""A layer that serves many adapters: each row takes its own adapter's product.

A row's slot rides in its cache as `RowTag`. Slot 0 is the base model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.models.cache import BatchKVCache, KVCache, RotatingKVCache, make_prompt_cache

from services.inference.engine.adapters.tag import RowTag
from services.inference.engine.head import Ends
from services.inference.engine.quantised import (
    QuantisedCache,
    expect_plain_caches,
    group_size_for,
    parts_of,
    rebuilt,
)

BASE_SLOT = 0


@dataclass(frozen=True)
class Pair:
    """One adapter in one layer: x @ a @ b is added, the scale multiplied into b.

    With DoRA the sum is multiplied by `gain`, one number an output; `shift` is what keeps the
    layer's own bias out of that.
    """

    a: mx.array
    b: mx.array
    gain: mx.array | None = None
    shift: mx.array | None = None

    @property
    def arrays(self) -> list[mx.array]:
        """Give what it is made of."""
        return [array for array in (self.a, self.b, self.gain, self.shift) if array is not None]

    def __call__(self, x: mx.array, y: mx.array) -> mx.array:
        """Turn the layer's own answer `y` into the adapter's."""
        y = y + ((x @ self.a) @ self.b).astype(y.dtype)
        return y if self.gain is None else _rescaled(y, self.gain, self.shift)


type Columns = tuple[tuple[int, int], ...]
"""Of pairs side by side: slot and rank of each."""


class Router:
    """Which slot each row of the running forward pass takes."""

    def __init__(self) -> None:
        """Start without rows."""
        self.rows: tuple[int, ...] = ()
        """Empty when all are base rows."""
        self.only: int | None = None
        """The slot of all rows, if it is one."""
        self.mixed: tuple[int, ...] = ()
        """The slots whose pairs lie side by side: those of the rows, and some that were lately."""
        self._masks: dict[Columns, mx.array] = {}
        self._places: dict[Columns, mx.array] = {}

    def route(self, slots: list[int]) -> None:
        """Route the next forward pass."""
        rows = tuple(slots) if any(slots) else ()
        if rows == self.rows:
            return
        self.rows = rows
        distinct = set(rows)
        self.only = rows[0] if len(distinct) == 1 else None
        distinct.discard(BASE_SLOT)
        if self.only is None and not distinct <= set(self.mixed):
            self.mixed = tuple(sorted(distinct.union(self.mixed)))
        self._masks.clear()
        self._places.clear()

    def keep(self, used: set[int]) -> None:
        """Hear which slots rows may take from now on."""
        # Laying pairs side by side copies them: not for each row that ends.
        if len(self.mixed) > 2 * len(used):
            self.mixed = tuple(slot for slot in self.mixed if slot in used)
            self.rows = ()  # what rows need is looked at anew

    def mask(self, columns: Columns) -> mx.array:
        """Give (rows, 1, ranks): true where a column of x @ a belongs to the row's own adapter."""
        if columns not in self._masks:
            slots = [slot for slot, rank in columns for _ in range(rank)]
            self._masks[columns] = mx.array([[[s == row for s in slots]] for row in self.rows])
        return self._masks[columns]

    def places(self, columns: Columns) -> mx.array:
        """Give (rows,): where the row's slot stands among the columns, from 1 on, or 0."""
        if columns not in self._places:
            order = {slot: place for place, (slot, _) in enumerate(columns, 1)}
            self._places[columns] = mx.array([order.get(row, 0) for row in self.rows])
        return self._places[columns]


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


class AdaptedLinear(Module):
    """A linear layer that adds each row's own low-rank product."""

    def __init__(self, linear: Any, router: Router) -> None:
        """Wrap a layer without adapters."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.linear = linear
        self._router = router
        self._pairs: dict[int, Pair] = {}
        self._mix: Mix | None = None

    def put(self, slot: int, pair: Pair | None) -> None:
        """Fill a slot, or empty it."""
        self._pairs.pop(slot, None)
        if pair is not None:
            self._pairs[slot] = pair
        if self._mix is not None and slot in self._mix.slots:
            self._mix = None

    def __call__(self, x: mx.array) -> mx.array:
        """Apply the layer to (rows, tokens, inputs)."""
        y: mx.array = self.linear(x)
        router = self._router
        if not router.rows:
            return y
        if router.only is not None:
            pair = self._pairs.get(router.only)
            return y if pair is None else pair(x, y)
        if self._mix is None or self._mix.slots != router.mixed:
            self._mix = self._side_by_side(router.mixed)
        mix = self._mix
        if not mix.columns:
            return y
        # Not multiplied: whatever another adapter makes of this row, nothing of it is left.
        narrow = mx.where(router.mask(mix.columns), x @ mix.a, 0)
        y = y + (narrow @ mix.b).astype(y.dtype)
        if mix.gains is None or mix.doras.isdisjoint(router.rows):
            return y
        places = router.places(mix.columns)
        shift = None if mix.shifts is None else mix.shifts[places][:, None]
        return _rescaled(y, mix.gains[places][:, None], shift)

    def _side_by_side(self, slots: tuple[int, ...]) -> Mix:
        found = {slot: self._pairs[slot] for slot in slots if slot in self._pairs}
        if not found:
            return Mix(slots, (), mx.array([]), mx.array([]))
        pairs = list(found.values())
        columns = tuple((slot, pair.a.shape[1]) for slot, pair in found.items())
        a = mx.concatenate([pair.a for pair in pairs], axis=1)
        b = mx.concatenate([pair.b for pair in pairs], axis=0)
        doras = frozenset(slot for slot, pair in found.items() if pair.gain is not None)
        if not doras:
            return Mix(slots, columns, a, b)
        one = mx.ones(b.shape[1])
        gains = [one, *(one if pair.gain is None else pair.gain for pair in pairs)]
        shifts = [0 * one, *(0 * one if pair.shift is None else pair.shift for pair in pairs)]
        shifted = any(pair.shift is not None for pair in pairs)
        shift = mx.stack(shifts) if shifted else None
        return Mix(slots, columns, a, b, doras, mx.stack(gains), shift)


class RoutedModel:
    """The model as MLX-LM's batch sees it: it takes the rows' slots off the end of the cache."""

    def __init__(
        self, model: Any, max_kv_size: int = 0, ends: Ends | None = None, kv_bits: int = 0
    ) -> None:
        """Wrap a loaded model; a row attends to its last `max_kv_size` tokens, or to all.

        Keys and values are held in `kv_bits` bits, or as they are; not with a `max_kv_size`.
        Through `ends` its head can be asked about single tokens.

        Raises Unavailable where the model's layers allow neither.
        """
        self.model = model
        self.kv_bits = kv_bits
        self._max_kv_size = max_kv_size
        if max_kv_size:
            expect_plain_caches(model, "MLX_HUB_MAX_KV_SIZE")
        self._group_size = group_size_for(model, kv_bits) if kv_bits else 0
        self.router = Router()
        self._ends = ends or Ends()
        self.layers = model.layers

    def __call__(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        """Run a forward pass."""
        tag, layers = cache[-1], cache[:-1]
        self.router.route(tag.slots)
        if not any(tag.unread):
            return self._run(tokens, layers)
        unread, tag.unread = tag.unread, [[] for _ in tag.slots]
        return self._read(unread, tokens, layers)

    def _read(self, unread: list[list[int]], last: mx.array, layers: list[Any]) -> mx.array:
        """Read the ends of prompts with their last tokens (rows, 1); give the latter's logits."""
        ends: Any = last[:, 0].tolist()
        rows = [[*row, end] for row, end in zip(unread, ends, strict=True)]
        lengths = [len(row) for row in rows]
        padding = [max(lengths) - length for length in lengths]
        if any(padding):
            for cache in layers:
                cache.prepare(lengths=lengths, right_padding=padding)
        padded = [row + [0] * pad for row, pad in zip(rows, padding, strict=True)]
        self._ends.at = last = mx.array(lengths)[:, None, None] - 1
        logits = self._run(mx.array(padded), layers)
        self._ends.at = None
        if any(padding):
            for cache in layers:
                cache.finalize()
        # A head that is not ours was asked about all.
        return logits if logits.shape[1] == 1 else mx.take_along_axis(logits, last, axis=1)

    def _run(self, tokens: mx.array, layers: list[Any]) -> mx.array:
        batches = parts_of(layers)
        if len(tokens) > 1 or any(type(cache) is not BatchKVCache for cache in batches):
            return self.model(tokens, cache=layers)  # type: ignore[no-any-return]
        # A lone row has no padding: without a mask it takes some operations less in each layer.
        alone = [KVCache() for _ in batches]  # type: ignore[no-untyped-call]
        for row, batch in zip(alone, batches, strict=True):
            row.keys, row.values, row.offset = batch.keys, batch.values, batch._idx
        logits: mx.array = self.model(tokens, cache=rebuilt(layers, alone))
        for row, batch in zip(alone, batches, strict=True):
            batch.keys, batch.values, batch._idx = row.keys, row.values, row.offset
            batch.offset = mx.array([row.offset])
        return logits

    def row_cache(self, slot: int, unread: Sequence[int] = ()) -> list[Any]:
        """Make the empty cache of one row, and leave it the end of its prompt to read."""
        # Not mlx-lm's `max_kv_size`: a model with a `make_cache`, as llama has, ignores it.
        caches = make_prompt_cache(self.model)
        if self._max_kv_size:
            caches = [RotatingKVCache(self._max_kv_size) for _ in caches]  # type: ignore[no-untyped-call]
        elif self.kv_bits:
            caches = [QuantisedCache(self.kv_bits, self._group_size) for _ in caches]
        return [*caches, RowTag([slot], [list(unread)])]


def _rescaled(y: mx.array, gain: mx.array, shift: mx.array | None) -> mx.array:
    y = y * gain.astype(y.dtype)
    return y if shift is None else y + shift.astype(y.dtype)
