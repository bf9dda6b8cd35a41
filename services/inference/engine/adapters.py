"""Many adapters in one batch: each adapted layer holds a stack of low-rank pairs.

Slot 0 is all zeros, the base model. A row's slot rides in its cache as `RowTag`, so that
MLX-LM's batch keeps rows and adapters together when it inserts, reorders and drops rows.
"""

import hashlib
import io
import json
import logging
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.quantized import QuantizedLinear
from mlx.utils import tree_unflatten
from mlx_lm.models.cache import make_prompt_cache

from services.chassis.errors import DataLoss, FailedPrecondition, HubError
from services.runtime.folder import FileDigest, digest_of

log = logging.getLogger(__name__)

BASE_SLOT = 0
CONFIG, WEIGHTS = "adapter_config.json", "adapters.safetensors"


class RowTag:
    """A cache entry without keys and values: the adapter slot of each row."""

    state: tuple[()] = ()
    nbytes = 0

    def __init__(self, slots: list[int]) -> None:
        """Take the slots in row order."""
        self.slots = slots

    @classmethod
    def merge(cls, tags: list["RowTag"]) -> "RowTag":
        """Join single rows into a batch."""
        return cls([slot for tag in tags for slot in tag.slots])

    def extend(self, other: "RowTag") -> None:
        """Append another batch's rows."""
        self.slots = [*self.slots, *other.slots]

    def filter(self, keep: list[int]) -> None:
        """Keep some rows."""
        self.slots = [self.slots[index] for index in keep]

    def extract(self, index: int) -> "RowTag":
        """Give one row."""
        return RowTag([self.slots[index]])

    def prepare(self, **_padding: Any) -> None:
        """Padding changes no row's slot."""

    def finalize(self) -> None:
        """Padding changes no row's slot."""


class Router:
    """Which slot each row of the current forward pass takes; None when all are base rows."""

    def __init__(self) -> None:
        """Start without rows."""
        self.slots: mx.array | None = None

    def set(self, slots: list[int]) -> None:
        """Route the next forward pass."""
        self.slots = mx.array(slots) if any(slots) else None


class SlottedLinear(Module):
    """A linear layer that adds each row's own low-rank product."""

    def __init__(self, linear: Any, router: Router, shape: tuple[int, int, int, int]) -> None:
        """Wrap a layer; shape is (slots, inputs, rank, outputs)."""
        super().__init__()  # type: ignore[no-untyped-call]
        slots, inputs, rank, outputs = shape
        self.linear = linear
        self.lora_a = mx.zeros((slots, inputs, rank))
        self.lora_b = mx.zeros((slots, rank, outputs))
        self._router = router

    def __call__(self, x: mx.array) -> mx.array:
        """Apply the layer to (rows, tokens, inputs)."""
        y: mx.array = self.linear(x)
        slots = self._router.slots
        if slots is None:
            return y
        z = (x @ mx.take(self.lora_a, slots, axis=0)) @ mx.take(self.lora_b, slots, axis=0)
        return y + z.astype(x.dtype)

    def store(self, slot: int, pair: tuple[mx.array, mx.array] | None) -> None:
        """Fill a slot with a pair, or with zeros; the stack grows as it must."""
        rank = max(self.lora_a.shape[2], pair[0].shape[1] if pair else 0)
        grow = max(0, slot + 1 - self.lora_a.shape[0])
        wider = rank - self.lora_a.shape[2]
        if grow or wider:
            self.lora_a = mx.pad(self.lora_a, [(0, grow), (0, 0), (0, wider)])
            self.lora_b = mx.pad(self.lora_b, [(0, grow), (0, wider), (0, 0)])
        self.lora_a[slot] = 0
        self.lora_b[slot] = 0
        if pair:
            self.lora_a[slot, :, : pair[0].shape[1]] = pair[0]
            self.lora_b[slot, : pair[1].shape[0], :] = pair[1]


class RoutedModel:
    """The model as MLX-LM's batch sees it: it takes the rows' slots off the end of the cache."""

    def __init__(self, model: Any) -> None:
        """Wrap a loaded model."""
        self.model = model
        self.router = Router()
        self.layers = model.layers

    def __call__(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        """Run a forward pass."""
        self.router.set(cache[-1].slots)
        logits: mx.array = self.model(tokens, cache=cache[:-1])
        return logits

    def row_cache(self, slot: int) -> list[Any]:
        """Make the empty cache of one row."""
        return [*make_prompt_cache(self.model), RowTag([slot])]


class Adapters:
    """The resident adapters: loaded when first needed, evicted when idle, least used first."""

    def __init__(self, model: RoutedModel, limit: int) -> None:
        """Serve at most `limit` adapters at the same time."""
        self._model = model
        self._limit = limit
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._stack = 1
        self._users: Counter[str] = Counter()
        self._layers: dict[str, SlottedLinear] = {}

    @property
    def resident(self) -> int:
        """Adapters in slots, used or not."""
        return len(self._slots)

    def acquire(self, adapter: str, path: str) -> int | None:
        """Give the slot for a row, or None while every slot is in use by others.

        Raises HubError when the files are not those that were published, or no adapter for
        this model.
        """
        if not adapter:
            return BASE_SLOT
        if adapter not in self._slots:
            slot = self._free_slot()
            if slot is None:
                return None
            self._load(_read(Path(path), adapter), slot)
            self._slots[adapter] = slot
        self._slots.move_to_end(adapter)
        self._users[adapter] += 1
        return self._slots[adapter]

    def release(self, adapter: str) -> None:
        """Say that a row is done."""
        if adapter:
            self._users[adapter] -= 1

    def _free_slot(self) -> int | None:
        if len(self._slots) < self._limit:
            return min(set(range(1, self._limit + 1)) - set(self._slots.values()))
        idle = next((name for name in self._slots if not self._users[name]), None)
        if idle is None:
            return None
        del self._users[idle]
        return self._slots.pop(idle)

    def _load(self, contents: dict[str, bytes], slot: int) -> None:
        pairs = _read_pairs(contents)
        linears = {name: self._linear(name) for name in pairs}
        for name, (a, b) in pairs.items():
            outputs, inputs = _shape(linears[name])
            if a.shape[0] != inputs or b.shape[1] != outputs or a.shape[1] != b.shape[0]:
                raise _unfit(f"{name} has another shape than the base model's layer")
        self._stack = max(self._stack, slot + 1)
        for name, linear in linears.items():
            if name not in self._layers:
                outputs, inputs = _shape(linear)
                # As high as the other layers' stacks: their rows pass here too.
                shape = (self._stack, inputs, pairs[name][0].shape[1], outputs)
                layer = SlottedLinear(linear, self._model.router, shape)
                self._model.model.update_modules(tree_unflatten([(name, layer)]))
                self._layers[name] = layer
        for name, layer in self._layers.items():
            layer.store(slot, pairs.get(name))
        mx.eval([(layer.lora_a, layer.lora_b) for layer in self._layers.values()])

    def _linear(self, name: str) -> Any:
        module: Any = self._model.model
        for part in name.split("."):
            try:
                module = module[int(part)] if part.isdigit() else module[part]
            except (KeyError, IndexError, TypeError) as error:
                raise _unfit(f"the base model has no layer {name}") from error
        module = module.linear if isinstance(module, SlottedLinear) else module
        if not isinstance(module, Linear | QuantizedLinear):
            raise _unfit(f"{name} is a {type(module).__name__}; only linear layers are served")
        return module


def _read(path: Path, digest: str) -> dict[str, bytes]:
    """Read a version's files; what is hashed here is what is loaded, whatever the disk says next.

    Raises DataLoss when they are not what was published.
    """
    try:
        contents = {name: (path / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    except OSError as error:
        log.error("a version's files can't be read: %s", error)
        contents = {}
    found = ((name, len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items())
    if digest_of(tuple(FileDigest(*file) for file in found)) != digest:
        raise DataLoss(
            "ARTIFACT_CORRUPT",
            "the version's files are not what was published; restore them or train it again",
            metadata={"file": WEIGHTS},
        )
    return contents


def _read_pairs(contents: dict[str, bytes]) -> dict[str, tuple[mx.array, mx.array]]:
    """Read an adapter's pairs by layer, the scale multiplied into the second."""
    try:
        config = json.loads(contents[CONFIG])
        kind = config.get("fine_tune_type", "lora")
        if kind != "lora":
            raise _unfit(f"it was trained by method {kind}, and only method lora is served")
        parameters = config["lora_parameters"]
        scale, rank = float(parameters["scale"]), int(parameters["rank"])
        weights: Any = mx.load(io.BytesIO(contents[WEIGHTS]), format="safetensors")
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _unfit("its files can't be read") from error
    names = {name.rpartition(".")[0] for name in weights}
    expected = {f"{name}.{part}" for name in names for part in ("lora_a", "lora_b")}
    if set(weights) != expected:
        raise _unfit("it holds more or less than pairs of lora_a and lora_b")
    pairs = {n: (weights[f"{n}.lora_a"], weights[f"{n}.lora_b"] * scale) for n in names}
    if any(a.ndim != 2 or b.ndim != 2 or a.shape[1] != rank for a, b in pairs.values()):
        raise _unfit("its weights do not have the rank its configuration states")
    return pairs


def _shape(linear: Any) -> tuple[int, int]:
    outputs, inputs = linear.weight.shape
    if isinstance(linear, QuantizedLinear):
        inputs = inputs * 32 // linear.bits
    return outputs, inputs


def _unfit(why: str) -> HubError:
    message = f"this version's adapter can't be served: {why}"
    return FailedPrecondition("VERSION_NOT_READY", message, metadata={"status": "unfit"})
