"""Writing weights so that the same ones give the same bytes on every platform."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

MLX_FORM = {"format": "mlx"}
_TYPES = {
    mx.bool_: "BOOL", mx.uint8: "U8", mx.int8: "I8",
    mx.uint16: "U16", mx.int16: "I16", mx.float16: "F16", mx.bfloat16: "BF16",
    mx.uint32: "U32", mx.int32: "I32", mx.float32: "F32",
    mx.uint64: "U64", mx.int64: "I64", mx.float64: "F64",
}  # fmt: skip


def save_weights(
    path: Path, weights: dict[str, mx.array], metadata: Mapping[str, str] = MLX_FORM
) -> None:
    """Write the tensors in order of name, taking each out of `weights` as it goes.

    MLX's own writer orders them by a hash that differs between platforms; the base model's digest
    must not. What is not computed yet is computed when its turn comes, so that a model larger than
    the memory passes through.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in sorted(weights.items()):
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _TYPES[array.dtype],
            "shape": array.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts on a multiple of eight
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(weights):
            file.write(memoryview(mx.contiguous(weights.pop(name))))
