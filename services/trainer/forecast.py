"""What a job's training process will hold at its peak, from the base's shapes and the recipe.

Pure functions of plain numbers. What is counted is what the gradient needs again; the factors were
measured on the worker itself (bench/memory.py, docs/benchmarks.md), and are on the safe side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.runtime.shape import Shape, Weight
from services.trainer.recipe import Method, Optimizer, Recipe

MIB = 1024**2
# Python, MLX and their libraries; and the tokenizer, whose tables grow with its vocabulary.
PROCESS_BYTES = 120 * MIB
TOKEN_BYTES = 1500
# Numbers for each trained one: adafactor's are sums over rows and columns, lion makes its second
# in the update.
STATES = {
    Optimizer.ADAMW: 2.0,
    Optimizer.ADAM: 2.0,
    Optimizer.SGD: 1.0,
    Optimizer.ADAFACTOR: 0.1,
    Optimizer.LION: 2.0,
}
# Copies of the logits: themselves, their softmax, their gradient and one on the way.
LOGITS = 4
# Of one layer's, beyond what it keeps: its gradients, while they are made.
PASSING = 2
# What is counted exactly is met exactly, and the allocator rounds up.
MARGIN = 1.08
# A packed layer's dense weights are made so many at a time, in five times their memory.
PIECE_BYTES = 5 * 4 * 4 * MIB
GROUP = 64


@dataclass(frozen=True)
class Base:
    """A base model, as far as it decides the memory of training."""

    shape: Shape
    weights: Sequence[Weight]

    @property
    def packed(self) -> bool:
        """Tell whether it is stored quantised."""
        return any(weight.scale_values for weight in self.weights)


@dataclass(frozen=True)
class Batch:
    """The largest batch: its rows, the longest's tokens, and how many tokens of it are trained."""

    rows: int
    tokens: int
    trained: int

    @classmethod
    def most(cls, recipe: Recipe) -> "Batch":
        """Give the largest that the recipe lets through."""
        rows, tokens = recipe.batch_size, recipe.max_seq_length
        return cls(rows, tokens, rows * tokens)


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak, by what they are for."""

    process_bytes: int
    weight_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    rows: int
    tokens: int

    @property
    def total_bytes(self) -> int:
        """Add them up."""
        parts = (self.process_bytes, self.weight_bytes, self.optimizer_bytes)
        return sum(parts) + self.activation_bytes


def forecast(base: Base, recipe: Recipe, batch: Batch, *, dense: bool) -> Forecast:
    """Forecast a job; `dense`: the weights are float32 in memory, as they are on a CPU."""
    width = 4 if dense else 2
    trained = _trained(base, recipe)
    held = _held(base, recipe, dense=dense)
    # What is trained beside the base; method full trains what is there.
    beside = 0 if recipe.method is Method.FULL else trained * 4
    working = _activations(base, recipe, batch, width)
    if dense and recipe.method is Method.DORA:
        working += _dense_copies(base, recipe)
    return Forecast(
        process_bytes=PROCESS_BYTES + TOKEN_BYTES * base.shape.vocabulary,
        weight_bytes=held + beside,
        optimizer_bytes=int(trained * 4 * _copies(recipe)),
        activation_bytes=max(working, _loading(base, recipe, dense=dense)),
        rows=batch.rows,
        tokens=batch.tokens,
    )


def _held(base: Base, recipe: Recipe, *, dense: bool) -> int:
    """Give the bytes of the base's weights while it trains."""
    if not recipe.quantize_bits:
        return sum(w.values * 4 if dense else w.stored_bytes for w in base.weights)
    return sum(_packed(weight, recipe.quantize_bits, base, dense=dense) for weight in base.weights)


def _packed(weight: Weight, bits: int, base: Base, *, dense: bool) -> int:
    width = 4 if dense else 2
    if weight.scale_values:
        stored_width = 2
        return weight.stored_bytes + weight.scale_values * (width - stored_width)
    if base.packed or len(weight.shape) < 2:
        return weight.values * width
    return weight.values * bits // 8 + 2 * width * weight.values // GROUP


def _loading(base: Base, recipe: Recipe, *, dense: bool) -> int:
    """Give what lies beside the weights while they are loaded."""
    if base.packed and dense and not recipe.quantize_bits:
        return sum(weight.stored_bytes for weight in base.weights)
    return max((w.values * 4 + w.stored_bytes for w in base.weights), default=0)


def trained_layers(base: Base, recipe: Recipe) -> list[Weight]:
    """List the weights of the layers that the recipe trains."""
    last = base.shape.layers
    first = last - recipe.lora_layers if recipe.lora_layers else 0
    return [w for w in base.weights if w.layer is not None and w.layer >= first]


def _chosen(base: Base, recipe: Recipe) -> list[Weight]:
    """List the weights of the layers and modules that the recipe trains."""
    inside, keys = trained_layers(base, recipe), recipe.target_keys
    return [w for w in inside if not keys or any(f".{w.path}".endswith(f".{k}") for k in keys)]


def _trained(base: Base, recipe: Recipe) -> int:
    """Count the numbers that are trained."""
    chosen = _chosen(base, recipe)
    if recipe.method is Method.FULL:
        return sum(weight.values for weight in chosen)
    total = 0
    for weight in chosen:
        if len(weight.shape) > 1:
            *lead, outputs, inputs = weight.shape
            experts = lead[0] if lead else 1
            total += experts * recipe.lora_rank * (outputs + inputs)
            total += outputs if recipe.method is Method.DORA else 0
    return total


def _copies(recipe: Recipe) -> float:
    """Count what there is for each trained number beside itself, in the middle of an update."""
    # A sum so far, or a gradient that was scaled down; never both at once.
    gradients = 2 if recipe.grad_accumulation > 1 or recipe.grad_clip else 1
    return gradients + STATES[recipe.optimizer]


def _activations(base: Base, recipe: Recipe, batch: Batch, width: int) -> int:
    shape = base.shape
    positions = batch.rows * batch.tokens
    layer = 6 * shape.hidden + 2 * shape.kv_heads * shape.head_dim + 5 * shape.inner
    if recipe.method is Method.DORA:
        layer += 3 * shape.hidden + 2 * shape.kv_heads * shape.head_dim + 2 * shape.inner
    if recipe.lora_dropout:
        layer += 2 * (6 * shape.hidden + shape.inner)
    scores = shape.heads * batch.rows * batch.tokens**2
    kept = int((positions * layer + scores) * MARGIN)
    if recipe.grad_checkpoint:
        layers = positions * shape.hidden * shape.layers + (1 + PASSING) * kept
    else:
        layers = (shape.layers + PASSING) * kept
    logits = LOGITS * batch.trained * shape.vocabulary
    pieces = PIECE_BYTES if recipe.quantize_bits else 0
    return (layers + logits) * width + pieces


def _dense_copies(base: Base, recipe: Recipe) -> int:
    """Give what DoRA makes of packed weights and keeps for the gradient."""
    if not recipe.quantize_bits:
        return 0
    return sum(weight.values * 4 for weight in _chosen(base, recipe))


@dataclass(frozen=True)
class Advice:
    """A change to one field of the recipe, and the forecast with it."""

    field: str
    value: int
    total_bytes: int


def advise(base: Base, recipe: Recipe, batch: Batch, *, dense: bool) -> list[Advice]:
    """List the changes that lower the need, the one that lowers it most first."""
    now = forecast(base, recipe, batch, dense=dense).total_bytes
    changes: list[tuple[str, Any]] = []
    if batch.rows > 1:
        changes.append(("batch_size", batch.rows // 2))
    if batch.tokens > MIN_TOKENS:
        changes.append(("max_seq_length", batch.tokens // 2))
    if not recipe.grad_checkpoint:
        changes.append(("grad_checkpoint", True))
    if not recipe.quantize_bits and recipe.method is not Method.FULL:
        changes.append(("quantize_bits", 4))
    found = []
    for field, value in changes:
        smaller = _smaller(batch, field, value)
        changed = forecast(base, replace(recipe, **{field: value}), smaller, dense=dense)
        found.append(Advice(field, int(value), changed.total_bytes))
    useful = (advice for advice in found if advice.total_bytes < now)
    return sorted(useful, key=lambda advice: advice.total_bytes)


# Shorter rows than these teach little.
MIN_TOKENS = 64


def _smaller(batch: Batch, field: str, value: int) -> Batch:
    if field == "batch_size":
        return Batch(value, batch.tokens, batch.trained * value // batch.rows)
    if field == "max_seq_length":
        return Batch(batch.rows, value, min(batch.trained, batch.rows * value))
    return batch
