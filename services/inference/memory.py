"""Forecasting an engine's memory before it starts: a failed allocation would end it later."""

from collections.abc import Iterable
from dataclasses import replace

from services.inference.domain import Base, EngineLimits
from services.inference.packing import number_bytes
from services.runtime.shape import Shape, Weight

# Python, MLX, the tokenizer twice, and the process that renders chat templates.
PROCESS_BYTES = 400 * 1024**2
# One step of prompt reading, as the engine bounds it at most: tokens of a row, and of all rows.
PREFILL_ON_CPU = 256, 1024
PREFILL_ON_GPU = 512, 4096


def forecast(base: Base, shape: Shape, limits: EngineLimits, *, dense: bool) -> int:
    """Give the bytes an engine needs: weights, keys and values in use and kept, adapters, one step.

    `dense`: the engine holds float32 weights, as it does on a CPU.
    """
    width = 4 if dense else 2
    step, tokens = PREFILL_ON_CPU if dense else PREFILL_ON_GPU
    weights = base.parameters * 4 if dense else base.size_bytes
    numbers = 2 * shape.layers * shape.kv_heads * shape.head_dim * limits.kv_tokens
    kv = int(numbers * number_bytes(limits.kv_bits, shape.head_dim, width))
    if limits.kv_bits:
        kv += numbers // shape.layers * width  # a layer's, unpacked for its attention
    # Attention scores of every head, before and after softmax; rows share the tokens.
    scores = 2 * shape.heads * step * limits.kv_tokens
    layer = tokens * (4 * shape.hidden + 3 * shape.inner)
    logits = 4 * limits.rows * shape.vocabulary
    running = kv + (scores + layer + logits) * width
    # While loading, the stored form lies beside the dense one.
    loading = base.size_bytes if dense else 0
    # Those of the running rows lie side by side once more.
    adapters = 2 * limits.adapter_bytes + limits.adapter_ahead_bytes
    return PROCESS_BYTES + weights + max(running + adapters + limits.cache_bytes, loading)


def draft_bytes(draft: Base, shape: Shape, limits: EngineLimits, *, dense: bool) -> int:
    """Give the bytes that a draft model takes in an engine: weights, and one row's as above."""
    alone = replace(without_adapters(limits), rows=1, cache_bytes=0, kv_bits=0)
    return forecast(draft, shape, alone, dense=dense) - PROCESS_BYTES


def without_adapters(limits: EngineLimits) -> EngineLimits:
    """Give the limits of an engine that takes none."""
    return replace(limits, adapter_bytes=0, adapter_ahead_bytes=0)


def with_adapters(limits: EngineLimits, share: int, largest: int) -> EngineLimits:
    """Make room for `share` bytes a slot, and for the largest adapter asked for if that is more.

    So much again may be read while the slots are full: a share, or that largest one.
    """
    room, ahead = max(limits.adapter_slots * share, largest), max(share, largest)
    return replace(limits, adapter_bytes=room, adapter_ahead_bytes=ahead)


def adapter_bytes(weights: Iterable[Weight], rank: int) -> int:
    """Give the bytes of an adapter of this rank on all that has one matrix.

    That is every linear layer, embedding and head, and no mixture's experts, who are as many times
    larger as they are many. Adapters are float32, as they are trained.
    """
    return rank * sum(sum(weight.shape) for weight in weights if len(weight.shape) == 2) * 4
