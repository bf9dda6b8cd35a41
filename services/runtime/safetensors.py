"""Reading safetensors headers in plain Python: a hostile file is refused before MLX maps it.

Source: the format description in the safetensors project's README: the header's length in eight
little-endian bytes, a JSON object {name: {dtype, shape, data_offsets}}, then the data, densely
packed without holes.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's own limit
_MAX_DIMENSIONS = 16
_MAX_NUMBER = 2**63 - 1

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
    """One tensor of a file: its type name as stored, its shape, its size and place in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    begin: int
    """Counted from the end of the header."""


@dataclass(frozen=True)
class Header:
    """What a file declares: its tensors by name, and the writer's notes about it."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Return what the file declares, every offset checked against the file's size.

    Reads the header only. Raises SafetensorsError for a header too large, cut short or not JSON, an
    unknown type, a size that contradicts the shape, and data that overlap, have holes or leave the
    file.
    """
    with path.open("rb") as file:
        return header_of(file, path.stat().st_size)


def header_of(file: IO[bytes], file_bytes: int) -> Header:
    """Do the same for a file that is open, or read already; the data is what it gives next."""
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES or length > file_bytes - 8:
        raise SafetensorsError("its header is cut short or too large")
    header = _parse(file.read(length))
    metadata = _metadata(header.pop("__metadata__", {}))
    spans = [_span(name, entry) for name, entry in header.items()]
    position = 0
    for begin, end, name, _ in sorted(spans, key=lambda span: span[:2]):
        if begin != position:
            raise SafetensorsError(f"tensor {name!r} overlaps another or follows a hole")
        position = end
    if position != file_bytes - 8 - length:
        raise SafetensorsError("its data is cut short or has bytes that belong to no tensor")
    return Header({name: tensor for _, _, name, tensor in spans}, metadata)


def _parse(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len(dict(pairs)):
            raise SafetensorsError("its header names a key twice")
        return dict(pairs)

    def no_number(constant: str) -> Any:
        raise SafetensorsError(f"its header holds {constant}, which is not JSON")

    try:
        header = json.loads(text, object_pairs_hook=unique, parse_constant=no_number)
    except SafetensorsError:
        raise
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise SafetensorsError("its header is not JSON") from error
    if not isinstance(header, dict):
        raise SafetensorsError("its header is not a JSON object")
    return header


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise SafetensorsError("its __metadata__ is not a map of texts")
    return found


def _span(name: str, entry: Any) -> tuple[int, int, str, Tensor]:
    """Return (first byte, byte after the last, name, tensor) of one header entry."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if (
            dtype in _BITS
            and len(shape) <= _MAX_DIMENSIONS
            and all(type(n) is int and 0 <= n <= _MAX_NUMBER for n in (*shape, begin, end))
        ):
            size = math.prod(shape) * _BITS[dtype] // 8
            if end - begin != size:
                raise SafetensorsError(f"tensor {name!r} has a size that contradicts its shape")
            return begin, end, name, Tensor(dtype, tuple(shape), size, begin)
    raise SafetensorsError(f"tensor {name!r} has a malformed entry")
