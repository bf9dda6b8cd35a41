"""Reading a GGUF file's header in plain Python: a malformed file must not reach MLX's C reader.

Source: docs/gguf.md in the ggml project, versions 2 and 3, little-endian.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Type -> (name, values in a block, bytes of a block); only those that MLX reads without loss.
_TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
}
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4


class GgufError(ValueError):
    """The file is not a GGUF file this product converts; the message says why and what would do."""


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: its type's name and its shape, rows first (GGUF itself stores it reversed)."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GgufHeader:
    """The file's metadata by key, and its tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def read_gguf_header(path: Path) -> GgufHeader:
    """Return the header of the GGUF file at `path`, every size in it checked against the file's.

    Raises GgufError for another format, a malformed or truncated file and unsupported tensor types.
    """
    if path.stat().st_size < 24:
        raise GgufError("not a GGUF file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _read(_Reader(data))
        except (struct.error, UnicodeDecodeError) as error:
            raise GgufError("malformed or truncated GGUF file; check the download") from error


class _Reader:
    """A cursor over the mapped file. Reading past its end raises struct.error."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 0
        self.size = len(data)

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._data, self.position)
        self.position += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        start, length = self.position + 8, self.scalar("Q")
        self._need(length)
        self.position = start + length
        return self._data[start : self.position].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_scalar_code(kind))
        inner, count = self.scalar("I"), self.scalar("Q")
        self._need(count)  # every element takes at least a byte
        if inner == _STRING:
            return [self.string() for _ in range(count)]
        layout = f"<{count}{_scalar_code(inner)}"
        values = list(struct.unpack_from(layout, self._data, self.position))
        self.position += struct.calcsize(layout)
        return values

    def _need(self, count: int) -> None:
        if count > self.size - self.position:
            raise struct.error("a length exceeds the file")


def _scalar_code(kind: int) -> str:
    if kind not in _SCALARS:
        raise GgufError(f"unknown GGUF value type {kind}")
    return _SCALARS[kind]


def _read(reader: _Reader) -> GgufHeader:
    if reader.scalar("4s") != b"GGUF" or reader.scalar("I") not in (2, 3):
        raise GgufError("not a GGUF file of version 2 or 3")
    tensor_count, key_count = reader.scalar("Q"), reader.scalar("Q")
    if max(tensor_count, key_count) > reader.size:
        raise GgufError("malformed GGUF file: more entries than bytes")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar("I"))
    tensors: dict[str, GgufTensor] = {}
    ends = [0]
    for _ in range(tensor_count):
        name, tensor, end = _read_tensor(reader)
        if name in tensors:
            raise GgufError(f"malformed GGUF file: tensor {name!r} appears twice")
        tensors[name] = tensor
        ends.append(end)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise GgufError("malformed GGUF file: bad alignment")
    start = -(-reader.position // alignment) * alignment
    if start + max(ends) > reader.size:
        raise GgufError("the GGUF file is cut short; check the download")
    return GgufHeader(metadata, tensors)


def _read_tensor(reader: _Reader) -> tuple[str, GgufTensor, int]:
    """Return (name, tensor, where its data ends, counted from the start of all data)."""
    name, dimensions = reader.string(), reader.scalar("I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise GgufError(f"malformed GGUF file: tensor {name!r} has {dimensions} dimensions")
    sizes = [reader.scalar("Q") for _ in range(dimensions)]
    kind, offset = reader.scalar("I"), reader.scalar("Q")
    if kind not in _TENSOR_TYPES:
        known = ", ".join(label for label, _, _ in _TENSOR_TYPES.values())
        raise GgufError(
            f"tensor {name!r} has an unsupported type ({kind}); use a file with only {known}"
        )
    label, block, block_bytes = _TENSOR_TYPES[kind]
    if sizes[0] % block:
        raise GgufError(f"malformed GGUF file: tensor {name!r} has rows of {sizes[0]} values")
    return (
        name,
        GgufTensor(label, tuple(reversed(sizes))),
        offset + math.prod(sizes) // block * block_bytes,
    )
