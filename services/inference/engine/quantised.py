"""Keys and values in a few bits: MLX-LM's plain caches, three of them in step.

MLX-LM's own `QuantizedKVCache` can't be batched. Its plain caches and their batches hold arrays of
any type and width, though, and cut, pad, roll and join them by tokens alone. So of three the first
holds the packed numbers, the others the groups' scales and biases, and all that a batch does to
rows is done by MLX-LM. A token is quantised by itself, whatever it is read together with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from services.chassis.errors import Unavailable
from services.inference.packing import GROUP_SIZES, group_size

type Triple = tuple[mx.array, ...]
"""What `mx.quantize` gives: packed numbers, scales, biases."""
type Held = tuple[Triple, Triple] | tuple[mx.array, mx.array]


@dataclass(frozen=True)
class Form:
    """How numbers are quantised, and what attention is given."""

    bits: int
    group_size: int
    packed: bool
    """Attention multiplies by the quantised numbers; else each layer's are unpacked for it."""


class QuantisedCache:
    """The keys and values of one layer, of a row or of a batch."""

    def __init__(self, form: Form, parts: Sequence[Any] = ()) -> None:
        """Take three caches of the same rows and tokens, or make a row's empty ones."""
        self.form = form
        if form.packed:  # MLX-LM's attention looks for these
            self.bits, self.group_size = form.bits, form.group_size
        self.parts: Sequence[Any] = parts or [KVCache() for _ in range(3)]  # type: ignore[no-untyped-call]

    def of(self, parts: Sequence[Any]) -> "QuantisedCache":
        """Give other parts the same form."""
        return QuantisedCache(self.form, parts)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Held:
        """Add (rows, heads, tokens, width) keys and values; give all of them to attention."""
        quantised = zip(self._quantise(keys), self._quantise(values), strict=True)
        held = [
            part.update_and_fetch(*pair) for part, pair in zip(self.parts, quantised, strict=True)
        ]
        # Only the first's is ever looked at: the others' would be sums that nobody computes.
        for part in self.parts[1:]:
            part.offset = self.offset
        all_keys, all_values = tuple(k for k, _ in held), tuple(v for _, v in held)
        if self.form.packed:
            return all_keys, all_values
        return self._unpacked(all_keys, keys.dtype), self._unpacked(all_values, values.dtype)

    def _quantise(self, numbers: mx.array) -> Triple:
        return tuple(mx.quantize(numbers, group_size=self.form.group_size, bits=self.form.bits))

    def _unpacked(self, numbers: Triple, dtype: mx.Dtype) -> mx.array:
        packed, scales, biases = numbers
        size, bits = self.form.group_size, self.form.bits
        return mx.dequantize(packed, scales, biases, size, bits).astype(dtype)

    @property
    def offset(self) -> Any:
        """Give the tokens held: a number of a row, (rows,) of a batch."""
        return self.parts[0].offset

    @property
    def state(self) -> list[Any]:
        """Give all arrays."""
        return [part.state for part in self.parts]

    @property
    def nbytes(self) -> int:
        """Give the bytes of all arrays."""
        return int(sum(part.nbytes for part in self.parts))

    def size(self) -> int:
        """Give the tokens held, padding included."""
        return int(self.parts[0].size())

    def empty(self) -> bool:
        """Tell whether nothing was ever held."""
        return bool(self.parts[0].empty())

    def make_mask(self, *shape: Any, **window: Any) -> Any:
        """Give which tokens see which, as for keys and values that are not quantised."""
        return self.parts[0].make_mask(*shape, **window)

    def is_trimmable(self) -> bool:
        """Any number of last tokens can be dropped."""
        return True

    def trim(self, tokens: int) -> int:
        """Drop the last tokens; give how many there were to drop."""
        return int(min(part.trim(tokens) for part in self.parts))

    def merge(self, rows: list["QuantisedCache"]) -> "QuantisedCache":
        """Join single rows into a batch."""
        aligned = zip(*(row.parts for row in rows), strict=True)
        return self.of([parts[0].merge(list(parts)) for parts in aligned])

    def extend(self, other: "QuantisedCache") -> None:
        """Append another batch's rows."""
        for part, another in zip(self.parts, other.parts, strict=True):
            part.extend(another)

    def extract(self, index: int) -> "QuantisedCache":
        """Give one row."""
        return self.of([part.extract(index) for part in self.parts])

    def filter(self, keep: Any) -> None:
        """Keep some rows."""
        for part in self.parts:
            part.filter(keep)

    def prepare(self, **padding: Any) -> None:
        """Hear how the next tokens are padded."""
        for part in self.parts:
            part.prepare(**padding)

    def finalize(self) -> None:
        """Move the padding of what was read to the left."""
        for part in self.parts:
            part.finalize()


def parts_of(layers: list[Any]) -> list[Any]:
    """Give the caches that hold arrays: a layer's own, or three of a quantised one."""
    return [
        part
        for layer in layers
        for part in (layer.parts if isinstance(layer, QuantisedCache) else (layer,))
    ]


def rebuilt(layers: list[Any], parts: list[Any]) -> list[Any]:
    """Make caches of the form of `layers` from as many parts as theirs."""
    rest = iter(parts)
    return [
        layer.of([next(rest) for _ in layer.parts])
        if isinstance(layer, QuantisedCache)
        else next(rest)
        for layer in layers
    ]


def expect_plain_caches(model: Any, setting: str) -> None:
    """Raise Unavailable, with the setting's name, where layers have caches of their own kind."""
    if any(type(cache) is not KVCache for cache in make_prompt_cache(model)):
        raise _refused("its layers decide themselves what they attend to", setting)


def form_for(model: Any, bits: int, *, packed: bool | None = None) -> Form:
    """Give the form of a model's keys and values in so many bits; nothing is computed for it.

    Attention multiplies by quantised numbers on Metal, unless `packed` says otherwise: elsewhere
    that is slow, or missing. Raises Unavailable where the heads' widths or the layers' attention
    don't allow it.
    """
    expect_plain_caches(model, "MLX_HUB_KV_BITS")
    caches = make_prompt_cache(model)
    model(mx.array([[0]]), cache=caches)
    widths = sorted({held.shape[-1] for cache in caches for held in (cache.keys, cache.values)})
    if not (size := group_size(*widths)):
        told, sizes = (" or ".join(map(str, numbers)) for numbers in (widths, GROUP_SIZES))
        raise _refused(
            f"its heads are {told} numbers wide, and they are quantised in groups of {sizes}",
            "MLX_HUB_KV_BITS",
        )
    form = Form(bits, size, mx.metal.is_available() if packed is None else packed)
    try:
        model(mx.array([[0, 0]]), cache=[QuantisedCache(form) for _ in caches])
    except Exception as error:
        raise _refused(
            "its layers compute with keys and values in a way of their own", "MLX_HUB_KV_BITS"
        ) from error
    return form


def _refused(why: str, setting: str) -> Unavailable:
    return Unavailable("ENGINE_START_FAILED", f"{why}; {setting} must be 0")
