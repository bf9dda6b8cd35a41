"""Forecasting an engine's memory before it starts: a failed allocation would end it later."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from services.inference.domain import Base, EngineLimits

GIB = 1024**3
# Python, MLX, the tokenizer twice.
PROCESS_BYTES = 400 * 1024**2
# One step of prompt reading, as the engine bounds it: tokens of a row, and of all rows.
PREFILL_STEP = 256
PREFILL_TOKENS = 1024
CGROUP = Path("/sys/fs/cgroup")


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
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    if isinstance(config.get("text_config"), dict):
        config = {**config, **config["text_config"]}
    hidden = int(config.get("hidden_size") or 4096)
    heads = int(config.get("num_attention_heads") or 32)
    return Shape(
        layers=int(config.get("num_hidden_layers") or 32),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or -(-hidden // heads)),
        hidden=hidden,
        inner=int(config.get("intermediate_size") or 4 * hidden),
        vocabulary=int(config.get("vocab_size") or 65536),
    )


def forecast(base: Base, shape: Shape, limits: EngineLimits, *, dense: bool) -> int:
    """Give the bytes an engine needs: weights, keys and values as admitted, one step's work.

    `dense`: the engine holds float32 weights, as it does on a CPU.
    """
    width = 4 if dense else 2
    weights = base.parameters * 4 if dense else base.size_bytes
    kv = 2 * shape.layers * shape.kv_heads * shape.head_dim * limits.kv_tokens
    # Attention scores of every head, before and after softmax; rows share the tokens.
    scores = 2 * shape.heads * PREFILL_STEP * limits.kv_tokens
    layer = PREFILL_TOKENS * (4 * shape.hidden + 3 * shape.inner)
    logits = 4 * limits.rows * shape.vocabulary
    running = (kv + scores + layer + logits) * width
    # While loading, the stored form lies beside the dense one.
    loading = base.size_bytes if dense else 0
    return PROCESS_BYTES + weights + max(running, loading)


def runs_dense() -> bool:
    """Tell whether engines compute on a CPU here, as far as it can be told without MLX."""
    return sys.platform != "darwin"


def default_budget(total: int) -> int:
    """Leave max(12 GiB, a quarter) to everything else, but never more than a half."""
    return max(total - max(12 * GIB, total // 4), total // 2)


def total_bytes() -> int:
    """Give the memory of the machine, or of the container where that is less."""
    return min(int(psutil.virtual_memory().total), _cgroup("memory.max") or sys.maxsize)


def available_bytes() -> int:
    """Give what could be allocated now."""
    available = int(psutil.virtual_memory().available)
    limit = _cgroup("memory.max")
    if limit is not None:
        available = min(available, max(0, limit - (_cgroup("memory.current") or 0)))
    return available


def _cgroup(name: str) -> int | None:
    try:
        text = (CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
