"""Which layers a base model has, and whether an adapter fits them; plain Python, no MLX."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.safetensors import Tensor, read_header

LORA, DORA, FULL = "lora", "dora", "full"
CONFIG, WEIGHTS = "adapter_config.json", "adapters.safetensors"
_IN_A_LAYER = re.compile(r"(?:.+\.)?layers\.(\d+)\.(.+)")
_NAMED = 5


class AdapterError(ValueError):
    """An adapter that can't be exchanged; the text says what is wrong with it and what to do.

    `field` is the one of ExportVersionRequest that asks for it, and `facts` the text's variables.
    """

    reason = "EXPORT_REFUSED"

    def __init__(self, message: str, field: str = "", **facts: str) -> None:
        super().__init__(message)
        self.field = field
        self.facts = facts


class StoredError(AdapterError):
    """Stored files that are not what was recorded."""

    reason = "ARTIFACT_CORRUPT"

    def __init__(self, message: str, file: str) -> None:
        """Take what the damaged part of the store is called."""
        super().__init__(message, file=file)


@dataclass(frozen=True)
class Pair:
    """One adapted layer: where its parts stand in the file, their rank and their scale.

    `a` maps inputs to the rank and `b` the rank to outputs; PEFT stores both transposed, as
    `turned` says. `m` is DoRA's magnitude.
    """

    a: str
    b: str
    m: str | None
    rank: int
    scale: float
    turned: bool


def place(module: str) -> tuple[int, str] | None:
    """Split a layer's name into its block's number and its path there, as mlx-lm's keys say it."""
    found = _IN_A_LAYER.fullmatch(module)
    return (int(found[1]), found[2]) if found else None


def linear_shapes(base: Path) -> dict[str, tuple[int, int]]:
    """Give (outputs, inputs) of each matrix in the blocks of an inspected MLX model folder."""
    config = json.loads((base / "config.json").read_bytes())
    tensors: dict[str, Tensor] = {}
    for file in sorted(base.glob("model*.safetensors")):
        tensors |= read_header(file).tensors
    found = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part != "weight" or len(tensor.shape) != 2 or place(module) is None:
            continue
        outputs, inputs = tensor.shape
        if f"{module}.scales" in tensors:
            inputs = inputs * 32 // _bits(config, module)
        found[module] = (outputs, inputs)
    return found


def block_count(layers: Mapping[str, Any]) -> int:
    """Count the blocks that layers lie in."""
    return 1 + max(number for name in layers if (found := place(name)) for number in [found[0]])


def check_fit(
    pairs: Mapping[str, Pair], tensors: Mapping[str, Tensor], layers: Mapping[str, tuple[int, int]]
) -> None:
    """Refuse an adapter of layers that the base model lacks, or of other shapes."""
    if unknown := sorted(pairs.keys() - layers.keys()):
        raise AdapterError(
            f"the base model has no linear layer {some(unknown)}; the adapter is of another model"
        )
    for module, pair in sorted(pairs.items()):
        outputs, inputs = layers[module]
        expected = {pair.a: (inputs, pair.rank), pair.b: (pair.rank, outputs)}
        if pair.turned:
            expected = {name: shape[::-1] for name, shape in expected.items()}
        wanted: dict[str, tuple[int, ...]] = dict(expected)
        if pair.m:
            wanted[pair.m] = (outputs,)
        for name, shape in wanted.items():
            if tensors[name].shape != shape:
                raise AdapterError(
                    f"tensor {name!r} has shape {list(tensors[name].shape)}, and for rank "
                    f"{pair.rank} the base model's layer needs {list(shape)}"
                )


def some(names: list[str]) -> str:
    """Name a few of many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _bits(config: Mapping[str, Any], module: str) -> int:
    quantization = config.get("quantization", config.get("quantization_config", {}))
    own = quantization.get(module)
    return int((own if isinstance(own, dict) else quantization)["bits"])
