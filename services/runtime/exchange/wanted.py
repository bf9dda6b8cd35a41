"""How a version is wanted, what making it takes, and how it gets its place.

Shared by the operator's command, which writes anywhere, and the registry, which keeps exports.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_hub.registry.v1 import lineage_pb2, publication_pb2

from services.chassis import memory
from services.chassis.durable import sync_path
from services.runtime.exchange import MAX_POSITIONS, TOLERANCE
from services.runtime.exchange.order import HeldOut, Order
from services.runtime.shape import read_shape

MLX, PEFT = "mlx", "peft"
_ROOM = 1 << 20
# Python, MLX and their libraries; and the tokenizer, whose tables grow with its vocabulary.
_PROCESS_BYTES = 300 << 20
_TOKEN_BYTES = 1500
# Copies of the logits: of the three models in float32, and what comparing two takes in float64.
_LOGITS = 16

type Locate = Callable[[str], Path]


@dataclass(frozen=True)
class Wish:
    """How a version is wanted; 0 bits leave weights dense."""

    form: str
    quantize: int = 0
    tolerance: float = TOLERANCE


def order_of(resolved: publication_pb2.ResolvedModel, wish: Wish, locate: Locate) -> Order:
    """Write down what the child needs; `locate` finds what is stored."""
    base, lineage = resolved.base_model, resolved.lineage
    return Order(
        base_path=str(locate(base.artifact_path)),
        base_digest=base.digest,
        base_source=base.source,
        base_revision=base.source_revision,
        base_name=base.name,
        model_type=base.model_type,
        adapter_path=str(locate(resolved.version.artifact_path)),
        adapter_digest=resolved.version.checksum,
        model=resolved.model.name,
        version=resolved.version.version,
        job_id=resolved.version.job_id,
        quantize=wish.quantize,
        tolerance=wish.tolerance,
        held_out=_held_out(lineage, locate) if lineage.HasField("dataset") else None,
    )


def disk_bytes(resolved: publication_pb2.ResolvedModel, wish: Wish) -> int:
    """Give the most that an export writes: the model, and a copy of the adapter meanwhile."""
    base, adapter = resolved.base_model, resolved.version.size_bytes
    if wish.form == PEFT:
        return int(2 * adapter) + _ROOM
    if wish.quantize:
        # Scales and biases of groups of 32 are two more bits a weight, what can't be packed is
        # left as it is.
        whole = base.parameters * (wish.quantize + 2) / 8 + base.size_bytes / 2
    else:
        whole = base.parameters * 4 if base.quantization else base.size_bytes
    return int(max(whole, base.size_bytes) + adapter) + _ROOM


def memory_bytes(resolved: publication_pb2.ResolvedModel, wish: Wish, order: Order) -> int:
    """Give the most that an export holds: one model at a time, and what is compared of it."""
    base, adapter = resolved.base_model, resolved.version.size_bytes
    held = _PROCESS_BYTES + 3 * adapter
    if wish.form != PEFT:
        vocabulary = read_shape(Path(order.base_path)).vocabulary
        width = 4 if memory.runs_dense() else 2
        held += max(base.parameters * width, base.size_bytes)
        held += (_TOKEN_BYTES + _LOGITS * MAX_POSITIONS * 4) * vocabulary
    return int(held)


def put(folder: Path, place: Path) -> None:
    """Give a finished folder its name, all at once; an empty folder there gives way."""
    folder.chmod(0o755)
    for path in (*sorted(folder.iterdir()), folder):
        sync_path(path)
    folder.rename(place)
    sync_path(place.parent)


def _held_out(lineage: lineage_pb2.Lineage, locate: Locate) -> HeldOut:
    data = lineage.dataset
    return HeldOut(
        path=str(locate(f"datasets/{data.digest}.jsonl")),
        digest=data.digest,
        seed=data.split_seed,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        mask_prompt=lineage.training.parameters.get("mask_prompt", "") == "true",
    )
