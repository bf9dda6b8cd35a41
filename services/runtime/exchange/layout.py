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
HEAD = "lm_head"
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
    `turned` says, and mlx-lm does for a mixture's experts. `m` is DoRA's magnitude. Of an embedding
    the inputs are tokens, which PEFT's names tell and mlx-lm's don't.
    """

    a: str
    b: str
    m: str | None
    rank: int
    scale: float
    turned: bool
    looked_up: bool = False


def place(module: str) -> tuple[int, str] | None:
    """Split a layer's name into its block's number and its path there, as mlx-lm's keys say it."""
    found = _IN_A_LAYER.fullmatch(module)
    return (int(found[1]), found[2]) if found else None


def layer_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Give (outputs, inputs) of each matrix of an inspected MLX model folder.

    A mixture's experts have as many of them, (experts, outputs, inputs); an embedding's outputs are
    its tokens, as they are where it is the head.
    """
    config = json.loads((base / "config.json").read_bytes())
    tensors: dict[str, Tensor] = {}
    for file in sorted(base.glob("model*.safetensors")):
        tensors |= read_header(file).tensors
    found = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part != "weight" or len(tensor.shape) not in (2, 3):
            continue
        *outputs, inputs = tensor.shape
        if f"{module}.scales" in tensors:
            inputs = inputs * 32 // _bits(config, module)
        found[module] = (*outputs, inputs)
    if config.get("tie_word_embeddings"):
        found.pop(HEAD, None)  # mlx-lm does not look at it
    return found


def check_fit(
    pairs: Mapping[str, Pair], tensors: Mapping[str, Tensor], layers: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse an adapter of layers that the base model lacks, or of other shapes."""
    if unknown := sorted(pairs.keys() - layers.keys()):
        raise AdapterError(
            f"the base model has no layer {some(unknown)}; the adapter is of another model"
        )
    for module, pair in sorted(pairs.items()):
        shape = layers[module]
        if pair.m and len(shape) > 2:
            raise AdapterError(
                f"layer {module!r} is of a mixture's experts, for which there is no DoRA; retrain "
                "the adapter by lora"
            )
        looked_up = pair.looked_up or _is_looked_up(module, tensors[pair.a], pair, shape)
        for name, wanted in _wanted(pair, shape, looked_up=looked_up).items():
            if tensors[name].shape != wanted:
                raise AdapterError(
                    f"tensor {name!r} has shape {list(tensors[name].shape)}, and for rank "
                    f"{pair.rank} the base model's layer needs {list(wanted)}"
                )


def check_lookup(modules: list[str], layers: Mapping[str, Any], *, dora: bool) -> None:
    """Refuse an adapter of embeddings that PEFT's form and mlx-lm's give different meanings."""
    if modules and dora:
        raise AdapterError(
            f"DoRA of the embedding {some(modules)} has a magnitude of each token in mlx-lm and of "
            "each feature in PEFT; only mlx-lm's form is honoured for it"
        )
    if modules and HEAD not in layers:
        raise AdapterError(
            f"the base model's embedding {some(modules)} is its head as well, which mlx-lm adapts "
            "with it and PEFT does not; only mlx-lm's form is honoured for it"
        )


def some(names: list[str]) -> str:
    """Name a few of many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _is_looked_up(module: str, a: Tensor, pair: Pair, shape: tuple[int, ...]) -> bool:
    """Tell whether an adapter in mlx-lm's form, outside the blocks, is an embedding's."""
    return place(module) is None and not pair.turned and a.shape[:1] == shape[:1] != shape[-1:]


def _wanted(pair: Pair, shape: tuple[int, ...], *, looked_up: bool) -> dict[str, tuple[int, ...]]:
    *experts, outputs, inputs = shape
    sides = (outputs, inputs) if looked_up else (inputs, outputs)
    a, b = (sides[0], pair.rank), (pair.rank, sides[1])
    if pair.turned or experts:
        a, b = a[::-1], b[::-1]
    wanted: dict[str, tuple[int, ...]] = {pair.a: (*experts, *a), pair.b: (*experts, *b)}
    return wanted | ({pair.m: (outputs,)} if pair.m else {})


def _bits(config: Mapping[str, Any], module: str) -> int:
    quantization = config.get("quantization", config.get("quantization_config", {}))
    own = quantization.get(module)
    return int((own if isinstance(own, dict) else quantization)["bits"])
