"""Reading safetensors headers in plain Python: a hostile file is refused before MLX maps it.

Source: the format description in the safetensors project's README: the header's length in eight
little-endian bytes, a JSON object {name: {dtype, shape, data_offsets}}, then the data, densely
packed without holes.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's own limit

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


class SafetensorsError(ValueError):
    """The file is not well-formed safetensors; the message says why, without naming the file."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its type name as stored, its shape, and its size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors that the file declares, by name, checked against the file's size.

    Reads the header only. Raises SafetensorsError for a header too large, cut short or not JSON, an
    unknown type, a size that contradicts the shape, and data that overlap, have holes or leave the
    file.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES or length > file_bytes - 8:
            raise SafetensorsError("its header is cut short or too large")
        header = _parse(file.read(length))
    spans = [_span(name, entry) for name, entry in header.items() if name != "__metadata__"]
    position = 0
    for begin, end, name, _ in sorted(spans, key=lambda span: span[:2]):
        if begin != position:
            raise SafetensorsError(f"tensor {name!r} overlaps another or follows a hole")
        position = end
    if position != file_bytes - 8 - length:
        raise SafetensorsError("its data is cut short or has bytes that belong to no tensor")
    return {name: tensor for _, _, name, tensor in spans}


def _parse(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len(dict(pairs)):
            raise SafetensorsError("its header names a key twice")
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SafetensorsError("its header is not JSON") from error
    if not isinstance(header, dict):
        raise SafetensorsError("its header is not a JSON object")
    return header


def _span(name: str, entry: Any) -> tuple[int, int, str, Tensor]:
    """Return (first byte, byte after the last, name, tensor) of one header entry."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if (
            dtype in _BITS
            and all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        ):
            size = math.prod(shape) * _BITS[dtype] // 8
            if end - begin != size:
                raise SafetensorsError(f"tensor {name!r} has a size that contradicts its shape")
            return begin, end, name, Tensor(dtype, tuple(shape), size)
    raise SafetensorsError(f"tensor {name!r} has a malformed entry")
