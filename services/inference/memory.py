"""Forecasting an engine's memory before it starts: a failed allocation would end it later."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.inference.domain import Base, EngineLimits

# Python, MLX, the tokenizer twice.
PROCESS_BYTES = 400 * 1024**2
# One step of prompt reading, as the engine bounds it: tokens of a row, and of all rows.
PREFILL_STEP = 256
PREFILL_TOKENS = 1024


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
