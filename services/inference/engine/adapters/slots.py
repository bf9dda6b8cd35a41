"""The resident adapters: stored when first needed, evicted when idle, least used first."""

import logging
import re
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from services.inference.engine.adapters.dora import Norms
from services.inference.engine.adapters.files import (
    AdapterWeights,
    read_adapter,
    size_of,
    too_large,
    unfit,
)
from services.inference.engine.adapters.kinds import kind_of
from services.inference.engine.adapters.pairs import Adapted, Pair
from services.inference.engine.adapters.routing import BASE_SLOT, RoutedModel

log = logging.getLogger(__name__)

TRIAL_SLOT = -1
"""No adapter's."""


class Adapters:
    """Who has which slot; a slot's arrays are as large as its adapter, and go with it."""

    def __init__(self, model: RoutedModel, limit: int, max_bytes: int) -> None:
        """Hold at most `limit` adapters, of at most `max_bytes` together."""
        self.max_bytes = max_bytes
        self._model = model
        self._limit = limit
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._users: Counter[str] = Counter()
        self._layers: dict[str, Adapted] = {}
        self._norms = Norms()
        self._asked = "", 0
        """Who waits for room, and for how much, if nobody has read it yet."""

    def __len__(self) -> int:
        """Count the adapters in slots, used or not."""
        return len(self._slots)

    def resident(self, adapter: str) -> bool:
        """Tell whether an adapter is here now; any thread may ask."""
        return adapter in self._slots

    def acquire(self, adapter: str, path: str, weights: AdapterWeights | None = None) -> int | None:
        """Give the slot for a row, or None while others use the room that it needs.

        `weights` are its files, if somebody has read them. Raises HubError when they are not those
        that were published, no adapter for this model, or too large.
        """
        if not adapter:
            return BASE_SLOT
        if adapter not in self._slots:
            weights = weights or self._read_late(adapter, path)
            if weights is None or not self._load(adapter, weights):
                return None
        self._slots.move_to_end(adapter)
        self._users[adapter] += 1
        return self._slots[adapter]

    def release(self, adapter: str) -> None:
        """Say that a row is done."""
        if adapter:
            self._users[adapter] -= 1
            self._model.router.keep({s for name, s in self._slots.items() if self._users[name]})

    def _read_late(self, adapter: str, path: str) -> AdapterWeights | None:
        """Read what nobody has read, once there is room for it.

        It was evicted since its request was prepared, or too much was waiting then.
        """
        if self._asked[0] != adapter:
            self._asked = adapter, size_of(Path(path))
        size = self._asked[1]
        if size <= self.max_bytes and self._to_evict(size) is None:
            return None
        self._asked = "", 0
        return read_adapter(Path(path), adapter, self.max_bytes)

    def _load(self, adapter: str, weights: AdapterWeights) -> bool:
        """Store an adapter where there is room; nothing is evicted for one that does not fit."""
        layers = {name: self._layer(name) for name in weights.layers}
        for name, layer in layers.items():
            _check(name, layer, weights)
        size = weights.nbytes
        if size > self.max_bytes:
            raise too_large(size, self.max_bytes)
        self._install(layers, weights)
        going = self._to_evict(size)
        if going is None:
            return False
        for name in going:
            self._evict(name)
        slot = min(set(range(1, self._limit + 1)) - set(self._slots.values()))
        pairs = {name: self._pair(name, layer, weights) for name, layer in layers.items()}
        mx.eval([pair.arrays for pair in pairs.values()])
        for name, pair in pairs.items():
            layers[name].put(slot, pair)
        self._slots[adapter] = slot
        self._sizes[adapter] = size
        return True

    def _pair(self, name: str, layer: Adapted, weights: AdapterWeights) -> Pair:
        parts = weights.layers[name]
        sides = layer.oriented(parts["lora_a"], parts["lora_b"])
        # On the outputs' side, where DoRA's norm expects it.
        a, b = mx.array(sides[0]), mx.array(sides[1] * weights.scale)
        if "m" not in parts:
            return Pair(a, b)
        return Pair(a, b, *self._norms.gain(name, layer.base, a, b, mx.array(parts["m"])))

    def _to_evict(self, size: int) -> list[str] | None:
        """Name whom so many bytes would take the place of; None while too much is in use."""
        idle = [name for name in self._slots if not self._users[name]]
        count, held = len(self._slots), sum(self._sizes.values())
        going: list[str] = []
        while count >= self._limit or held + size > self.max_bytes:
            if not idle:
                return None
            going.append(idle.pop(0))
            count, held = count - 1, held - self._sizes[going[-1]]
        return going

    def _evict(self, adapter: str) -> None:
        slot = self._slots.pop(adapter)
        del self._sizes[adapter], self._users[adapter]
        for layer in self._layers.values():
            layer.put(slot, None)

    def _layer(self, name: str) -> Adapted:
        """Give a layer with slots, which the model may not have yet."""
        if name in self._layers:
            return self._layers[name]
        module: Any = self._model.model
        parent = module
        for part in name.split("."):
            # What is not written as a place in a list is none: "01" is no other name for 1.
            place: Any = int(part) if re.fullmatch("0|[1-9][0-9]{0,5}", part) else part
            try:
                parent, module = module, module[place]
            except (LookupError, TypeError, ValueError) as error:
                raise unfit(f"the base model has no layer {name}") from error
            if isinstance(parent, Adapted):
                raise unfit(f"the base model has no layer {name}")
        kind = kind_of(module)
        if kind is None:
            raise unfit(
                f"layer {name} is of kind {type(module).__name__}; adapters of linear layers, "
                "embeddings and experts are served"
            )
        try:
            return kind.within(module, parent, self._model.router)
        except ValueError as error:
            raise unfit(f"layer {name} can't be adapted, {error}") from error

    def _install(self, layers: dict[str, Adapted], weights: AdapterWeights) -> None:
        """Put layers into the model in the place of those that they wrap, if it can use them so."""
        new = {name: layer for name, layer in layers.items() if name not in self._layers}
        self._replace(new)
        try:
            self._try(new, weights)
        except Exception as error:
            log.warning("a model can't pass through adapted layers", exc_info=error)
            self._replace({name: layer.base for name, layer in new.items()})
            raise unfit(
                "the base model computes with the weights of a layer that it adapts themselves, or "
                f"calls the layer in a way of its own; it adapts {_listed(new)}"
            ) from error
        self._layers |= new

    def _try(self, layers: dict[str, Adapted], weights: AdapterWeights) -> None:
        """Have the model pass through layers with such an adapter; nothing is computed.

        A model may take weights past their layer, or give it what is not (rows, tokens, inputs),
        and all rows would fail with the first pass. Three rows, of which one is the base model's:
        few models have three of anything else.
        """
        if not layers:
            return
        for name, layer in layers.items():
            parts = weights.layers[name]
            sides = layer.oriented(parts["lora_a"], parts["lora_b"])
            gain = mx.zeros(parts["m"].shape) if "m" in parts else None
            layer.put(TRIAL_SLOT, Pair(mx.zeros(sides[0].shape), mx.zeros(sides[1].shape), gain))
        rows = [self._model.row_cache(slot) for slot in (TRIAL_SLOT, BASE_SLOT, TRIAL_SLOT)]
        mixed = self._model.router.mixed
        try:
            cache = [entries[0].merge(list(entries)) for entries in zip(*rows, strict=True)]
            self._model(mx.array([[0]] * len(rows)), cache)
        finally:
            self._model.router.forget(mixed)
            for layer in layers.values():
                layer.put(TRIAL_SLOT, None)

    def _replace(self, modules: dict[str, Any]) -> None:
        self._model.model.update_modules(tree_unflatten(list(modules.items())))


def _listed(layers: dict[str, Adapted]) -> str:
    """Name a layer of each sort: they are the same in every block."""
    sorts = {re.sub(r"\.[0-9]+\.", ".N.", name): None for name in layers}
    return ", ".join(sorts)[:300]


def _check(name: str, layer: Adapted, weights: AdapterWeights) -> None:
    wanted = layer.shapes(layer.base, weights.rank)
    for part, array in weights.layers[name].items():
        if part not in wanted:
            kind = type(layer.base).__name__
            raise unfit(f"layer {name} is of kind {kind}, for which there is no DoRA")
        if array.shape != wanted[part]:
            raise unfit(
                f"{part} of layer {name} has shape {list(array.shape)}; with rank {weights.rank} "
                f"the base model's layer takes {list(wanted[part])}"
            )
