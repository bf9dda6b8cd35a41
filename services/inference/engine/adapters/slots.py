"""The resident adapters: stored when first needed, evicted when idle, least used first."""

from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from services.inference.engine.adapters.dora import Norms
from services.inference.engine.adapters.files import (
    AdapterWeights,
    read_adapter,
    too_large,
    unfit,
)
from services.inference.engine.adapters.kinds import AdaptedEmbedding, kind_of
from services.inference.engine.adapters.pairs import Adapted, Pair
from services.inference.engine.adapters.routing import BASE_SLOT, RoutedModel


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
        self._read: tuple[str, AdapterWeights] | None = None
        """What `acquire` had to read itself, while it waits for room."""

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
            # If nobody has read it, it was evicted since its request was prepared.
            weights = weights or self._read_late(adapter, path)
            if not self._load(adapter, weights):
                return None
            self._read = None
        self._slots.move_to_end(adapter)
        self._users[adapter] += 1
        return self._slots[adapter]

    def release(self, adapter: str) -> None:
        """Say that a row is done."""
        if adapter:
            self._users[adapter] -= 1
            self._model.router.keep({s for name, s in self._slots.items() if self._users[name]})

    def _read_late(self, adapter: str, path: str) -> AdapterWeights:
        if self._read is None or self._read[0] != adapter:
            self._read = adapter, read_adapter(Path(path), adapter, self.max_bytes)
        return self._read[1]

    def _load(self, adapter: str, weights: AdapterWeights) -> bool:
        """Store an adapter where there is room; nothing is evicted for one that does not fit."""
        layers = {name: self._layer(name) for name in weights.layers}
        for name, layer in layers.items():
            _check(name, layer, weights)
        self._install(layers)
        size = weights.nbytes
        if size > self.max_bytes:
            raise too_large(size, self.max_bytes)
        if not self._make_room(size):
            return False
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

    def _make_room(self, size: int) -> bool:
        idle = [name for name in self._slots if not self._users[name]]
        count, held = len(self._slots), sum(self._sizes.values())
        going: list[str] = []
        while count >= self._limit or held + size > self.max_bytes:
            if not idle:
                return False
            going.append(idle.pop(0))
            count, held = count - 1, held - self._sizes[going[-1]]
        for name in going:
            self._evict(name)
        return True

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
            try:
                parent, module = module, module[int(part)] if part.isdigit() else module[part]
            except (KeyError, IndexError, TypeError) as error:
                raise unfit(f"the base model has no layer {name}") from error
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

    def _install(self, layers: dict[str, Adapted]) -> None:
        """Put layers into the model in the place of those that they wrap."""
        new = {name: layer for name, layer in layers.items() if name not in self._layers}
        self._replace(new)
        try:
            # Nothing is computed; but a model may take an embedding's weights past its layer.
            if any(isinstance(layer, AdaptedEmbedding) for layer in new.values()):
                row = [entry.merge([entry]) for entry in self._model.row_cache(BASE_SLOT)]
                self._model(mx.array([[0]]), row)
        except AttributeError as error:
            self._replace({name: layer.base for name, layer in new.items()})
            raise unfit(
                "its embedding is adapted, and the base model computes with the embedding's "
                "weights themselves"
            ) from error
        self._layers |= new

    def _replace(self, modules: dict[str, Any]) -> None:
        self._model.model.update_modules(tree_unflatten(list(modules.items())))


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
