"""A version's files: read once, verified, and unpacked without MLX, so on any thread."""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import DataLoss, FailedPrecondition, HubError
from services.runtime.exchange.layout import CONFIG, DORA, FULL, LORA, WEIGHTS
from services.runtime.folder import FileDigest, digest_of
from services.runtime.safetensors import Tensor, header_of, read_header

log = logging.getLogger(__name__)

_PARTS = {LORA: ("lora_a", "lora_b"), DORA: ("lora_a", "lora_b", "m")}
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}

# What names and offsets take in a file of weights, at most.
_HEADER_ROOM = 16 << 20

type Array = NDArray[np.float32]


@dataclass(frozen=True)
class AdapterWeights:
    """A verified adapter: of each layer the arrays by mlx-lm's names, as float32."""

    rank: int
    scale: float
    layers: dict[str, dict[str, Array]]

    @property
    def nbytes(self) -> int:
        """Count the bytes of all arrays."""
        return sum(array.nbytes for parts in self.layers.values() for array in parts.values())


class Reader:
    """Reads ahead of the batch, on the thread that prepares requests."""

    def __init__(self, resident: Callable[[str], bool], max_bytes: int, ahead_bytes: int) -> None:
        """Take who knows what the batch holds, and how large an adapter and all read may be."""
        self._resident = resident
        self._max_bytes = max_bytes
        self._ahead_bytes = ahead_bytes
        # Requests that came together share what they wait with.
        self._read: WeakValueDictionary[str, AdapterWeights] = WeakValueDictionary()

    def weights_of(self, adapter: str, path: str) -> AdapterWeights | None:
        """Read an adapter that the batch will have to load; None if it won't.

        None, too, if too much is read that waits for a slot: the batch then reads this one itself,
        once there is room for it. Raises as `read_adapter` does.
        """
        if not adapter or self._resident(adapter):
            return None
        found = self._read.get(adapter)
        if found is None and self._may_hold(size_of(Path(path))):
            found = self._read[adapter] = read_adapter(Path(path), adapter, self._max_bytes)
        return found

    def _may_hold(self, size: int) -> bool:
        waiting = sum(weights.nbytes for weights in list(self._read.values()))
        return waiting + size <= self._ahead_bytes


def size_of(path: Path) -> int:
    """Tell the bytes of a version's adapter as float32; 0 where its files can't tell."""
    try:
        tensors = read_header(path / WEIGHTS).tensors.values()
    except (OSError, ValueError):
        return 0  # whoever reads it says why
    return 4 * sum(math.prod(tensor.shape) for tensor in tensors)


def read_adapter(path: Path, digest: str, max_bytes: int) -> AdapterWeights:
    """Read a version's files; what is hashed here is what is loaded, whatever the disk says next.

    Raises DataLoss when they are not what was published, and FailedPrecondition when they are no
    adapter, or a larger one than this engine may hold.
    """
    contents = _read(path, max_bytes)
    found = ((name, len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items())
    if digest_of(tuple(FileDigest(*file) for file in found)) != digest:
        raise DataLoss(
            "ARTIFACT_CORRUPT",
            "the version's files are not what was published; restore them or train it again",
            metadata={"file": WEIGHTS},
        )
    try:
        config = json.loads(contents[CONFIG])
        parts = _parts_of(config.get("fine_tune_type", LORA))
        shape = config["lora_parameters"]
        rank, scale = int(shape["rank"]), float(shape["scale"])
        tensors = _tensors_of(contents[WEIGHTS])
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise unfit("its files can't be read") from error
    layers: dict[str, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        layers.setdefault(module, {})[part] = tensor
    if not layers or any(set(found) != set(parts) for found in layers.values()):
        raise unfit(f"it holds more or less than {' and '.join(parts)} of each layer")
    # Rows of other adapters pass by these numbers: zero times infinity would reach them.
    if bad := next((n for n, tensor in tensors.items() if not _finite(tensor, 1)), None):
        raise unfit(f"the weights of {bad} are not finite")
    if not all(_finite(parts["lora_b"], scale) for parts in layers.values()):
        raise unfit(f"its weights times its scale, {scale:g}, are not finite")
    return AdapterWeights(rank, scale, layers)


def unfit(why: str) -> HubError:
    """Give the error of a version that no engine can serve."""
    message = f"this version's adapter can't be served: {why}"
    return FailedPrecondition("VERSION_NOT_READY", message, metadata={"status": "unfit"})


def too_large(size: int, max_bytes: int) -> HubError:
    """Give the error of an adapter that is more than all may be together."""
    return unfit(
        f"it has {size / 1e6:.1f} MB and the adapters of an engine may have {max_bytes / 1e6:.1f} "
        "MB together; raise MLX_HUB_ADAPTER_RANK or MLX_HUB_ADAPTER_SLOTS"
    )


def _read(path: Path, max_bytes: int) -> dict[str, bytes]:
    try:
        size = (path / WEIGHTS).stat().st_size
        if size > max_bytes + _HEADER_ROOM:
            raise too_large(size, max_bytes)
        return {name: (path / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    except OSError as error:
        log.error("a version's files can't be read: %s", error)
        return {}


def _parts_of(method: str) -> tuple[str, ...]:
    if method == FULL:
        raise unfit("it was trained by method full, which is served by an engine of its own")
    if method not in _PARTS:
        raise unfit(f"it was trained by method {str(method)[:40]}; lora, dora and full are served")
    return _PARTS[method]


def _tensors_of(contents: bytes) -> dict[str, Array]:
    """Unpack a file; float32 is not copied, since an adapter may be as large as a model."""
    file = BytesIO(contents)
    header = header_of(file, len(contents))
    return {name: _array(one, contents, file.tell()) for name, one in header.tensors.items()}


def _array(tensor: Tensor, contents: bytes, data: int) -> Array:
    count, place = math.prod(tensor.shape), data + tensor.begin
    flat: NDArray[Any] = np.frombuffer(contents, _TYPES[tensor.dtype], count, place)
    if tensor.dtype == "BF16":
        # The upper half of a float32.
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    single: Array = flat.reshape(tensor.shape).astype(np.float32, copy=False)
    return single


def _finite(array: Array, scale: float) -> bool:
    """Tell whether all numbers are finite, times a scale; copies nothing."""
    with np.errstate(all="ignore"):
        ends = np.array([array.min(initial=0), array.max(initial=0)]) * np.float32(scale)
    return bool(np.isfinite(ends).all())
