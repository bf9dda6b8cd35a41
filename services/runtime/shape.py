"""The sizes of a base model that decide its memory, from config.json and safetensors headers."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.safetensors import Tensor, read_header

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Shape:
    """The sizes in a model's config.json that decide its memory."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    inner: int
    vocabulary: int


def read_shape(folder: Path) -> Shape:
    """Read the sizes; keys that a model does not state fall back to their upper bound."""
    config = _config(folder)
    hidden = int(config.get("hidden_size") or 4096)
    heads = int(config.get("num_attention_heads") or 32)
    return Shape(
        layers=int(config.get("num_hidden_layers") or 32),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or -(-hidden // heads)),
        hidden=hidden,
        inner=_inner(config, hidden),
        vocabulary=int(config.get("vocab_size") or 65536),
    )


@dataclass(frozen=True)
class Weight:
    """One weight as it was before it was packed: how large, and where it stands."""

    name: str
    shape: tuple[int, ...]
    stored_bytes: int
    """With its scales and biases."""
    scale_values: int = 0
    """The numbers of its scales and biases; 0 if it is not packed."""

    @property
    def values(self) -> int:
        """Count its numbers."""
        return math.prod(self.shape)

    @property
    def module(self) -> str:
        """Name the module that it belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def layer(self) -> int | None:
        """Give the number of its layer, if it is in one."""
        found = _LAYER.search(self.name)
        return int(found[1]) if found else None

    @property
    def path(self) -> str:
        """Give its module's path within its layer."""
        found = _LAYER.search(self.module)
        return found[2] if found else ""


def read_weights(folder: Path) -> list[Weight]:
    """List the weights of a model folder; raises OSError or SafetensorsError."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors |= read_header(path).tensors
    config = _config(folder)
    settings = config.get("quantization") or config.get("quantization_config") or {}
    return list(_weights(tensors, settings))


def _weights(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Iterable[Weight]:
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        scales = tensors.get(f"{module}.scales")
        if scales is None:
            yield Weight(name, tensor.shape, tensor.size_bytes)
        elif part not in ("scales", "biases"):
            own = settings.get(module)
            group = int((own if isinstance(own, dict) else settings).get("group_size") or 64)
            biases = tensors.get(f"{module}.biases")
            beside = [part for part in (scales, biases) if part]
            yield Weight(
                name,
                (*tensor.shape[:-1], scales.shape[-1] * group),
                tensor.size_bytes + sum(part.size_bytes for part in beside),
                sum(math.prod(part.shape) for part in beside),
            )


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, dict) else config


def _inner(config: dict[str, Any], hidden: int) -> int:
    """Give the width that a token passes through between the halves of a layer."""
    dense = int(config.get("intermediate_size") or 4 * hidden)
    expert = int(config.get("moe_intermediate_size") or 0)
    if not expert:
        return dense
    chosen = int(config.get("num_experts_per_tok") or 1)
    return max(dense, expert * (chosen + 1))
