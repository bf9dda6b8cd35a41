"""The resident adapters: stored when first needed, evicted when idle, least used first."""

from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.quantized import QuantizedLinear
from mlx.utils import tree_unflatten

from services.inference.engine.adapters.dora import Norms
from services.inference.engine.adapters.files import (
    AdapterWeights,
    read_adapter,
    too_large,
    unfit,
)
from services.inference.engine.adapters.layers import BASE_SLOT, AdaptedLinear, Pair, RoutedModel


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
        self._layers: dict[str, AdaptedLinear] = {}
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
        linears = {name: self._linear(name) for name in weights.layers}
        for name, linear in linears.items():
            _check(name, linear, weights)
        size = weights.nbytes
        if size > self.max_bytes:
            raise too_large(size, self.max_bytes)
        if not self._make_room(size):
            return False
        slot = min(set(range(1, self._limit + 1)) - set(self._slots.values()))
        pairs = {name: self._pair(name, linear, weights) for name, linear in linears.items()}
        mx.eval([pair.arrays for pair in pairs.values()])
        for name, pair in pairs.items():
            self._adapted(name, linears[name]).put(slot, pair)
        self._slots[adapter] = slot
        self._sizes[adapter] = size
        return True

    def _pair(self, name: str, linear: Any, weights: AdapterWeights) -> Pair:
        parts = weights.layers[name]
        a, b = mx.array(parts["lora_a"]), mx.array(parts["lora_b"] * weights.scale)
        if "m" not in parts:
            return Pair(a, b)
        return Pair(a, b, *self._norms.gain(name, linear, a, b, mx.array(parts["m"])))

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

    def _adapted(self, name: str, linear: Any) -> AdaptedLinear:
        if name not in self._layers:
            layer = AdaptedLinear(linear, self._model.router)
            self._model.model.update_modules(tree_unflatten([(name, layer)]))
            self._layers[name] = layer
        return self._layers[name]

    def _linear(self, name: str) -> Any:
        if name in self._layers:
            return self._layers[name].linear
        module: Any = self._model.model
        for part in name.split("."):
            try:
                module = module[int(part)] if part.isdigit() else module[part]
            except (KeyError, IndexError, TypeError) as error:
                raise unfit(f"the base model has no layer {name}") from error
        if not isinstance(module, Linear | QuantizedLinear):
            raise unfit(
                f"layer {name} is of kind {type(module).__name__}; adapters of linear layers are "
                "served"
            )
        return module


def _check(name: str, linear: Any, weights: AdapterWeights) -> None:
    outputs, inputs = _shape(linear)
    wanted = {
        "lora_a": (inputs, weights.rank),
        "lora_b": (weights.rank, outputs),
        "m": (outputs,),
    }
    for part, array in weights.layers[name].items():
        if array.shape != wanted[part]:
            raise unfit(
                f"{part} of layer {name} has shape {list(array.shape)}; with rank {weights.rank} "
                f"the base model's layer takes {list(wanted[part])}"
            )


def _shape(linear: Any) -> tuple[int, int]:
    outputs, inputs = linear.weight.shape
    if isinstance(linear, QuantizedLinear):
        inputs = inputs * 32 // linear.bits
    return outputs, inputs
