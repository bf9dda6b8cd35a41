"""Whose adapter each row of a pass takes.

A row's slot rides in its cache as `RowTag`. Slot 0 is the base model.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, KVCache, RotatingKVCache, make_prompt_cache

from services.inference.engine.adapters.tag import RowTag
from services.inference.engine.head import Ends
from services.inference.engine.quantised import (
    QuantisedCache,
    expect_plain_caches,
    form_for,
    parts_of,
    rebuilt,
)

BASE_SLOT = 0


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
            self.forget(tuple(slot for slot in self.mixed if slot in used))

    def forget(self, mixed: tuple[int, ...]) -> None:
        """Leave these side by side; what rows need is looked at anew."""
        self.mixed, self.rows = mixed, ()

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
        self._form = form_for(model, kv_bits) if kv_bits else None
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
        with self._ends.asked(mx.array(lengths)[:, None, None] - 1) as places:
            logits = self._run(mx.array(padded), layers)
        if any(padding):
            for cache in layers:
                cache.finalize()
        # A head that is not ours was asked about all.
        return logits if logits.shape[1] == 1 else mx.take_along_axis(logits, places, axis=1)

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
        elif self._form:
            caches = [QuantisedCache(self._form) for _ in caches]
        return [*caches, RowTag([slot], [list(unread)])]
