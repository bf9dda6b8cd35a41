"""`mlx-hub versions export`: a version taken out of the hub, as a folder that stands alone."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_hub.registry.v1 import lineage_pb2, publication_pb2

from services.chassis.durable import sync_path
from services.runtime.exchange.order import HeldOut, Order
from services.stack.errors import StackError
from services.stack.importing import Say, run_child
from services.stack.registry import Registry, running_registry
from services.stack.settings import StackSettings
from services.stack.telling import TOLERANCE

_ROOM = 1 << 20


@dataclass(frozen=True)
class Wish:
    """How a version is wanted; 0 bits leave weights dense."""

    form: str
    quantize: int = 0
    tolerance: float = TOLERANCE


def export_version(
    settings: StackSettings, model: str, version: str, target: Path, wish: Wish, say: Say
) -> dict[str, Any]:
    """Write a version into a new or empty folder, which holds all of it or stays as it was.

    Gives the report that lies in it as export.json.
    """
    place = target.absolute()
    _check_target(place)
    with running_registry(settings) as registry:
        resolved = registry.resolve(model, version)
        if not resolved.HasField("version"):
            raise StackError(f"{model} has no version yet, and its base model is no version.")
        order = _order(registry, resolved, wish)
    _check_room(place.parent, _needed(resolved, wish))
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise StackError(f"{place.parent} can't be written to: {error.strerror}.") from error
    try:
        folder, work = staging / "folder", staging / "work"
        folder.mkdir()
        words = ["services.runtime.exchange.export", wish.form, order.write()]
        report = run_child([*words, str(folder), str(work)], {**os.environ}, say, "export")
        _put(folder, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _check_target(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        if any(place.iterdir()):
            raise StackError(f"{place} is not empty; name a new folder.")
    elif os.path.lexists(place):
        raise StackError(f"{place} exists and is not a folder; name a new one.")
    elif not place.parent.is_dir():
        raise StackError(f"{place.parent} does not exist; make it, or name another folder.")


def _check_room(parent: Path, needed: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise StackError(
            f"The export may take {needed / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free on "
            f"the volume of {parent}; free some, or name a folder on another volume."
        )


def _needed(resolved: publication_pb2.ResolvedModel, wish: Wish) -> int:
    """Give the most that an export takes: the model, and a copy of the adapter meanwhile."""
    base, adapter = resolved.base_model, resolved.version.size_bytes
    if wish.form == "peft":
        return int(2 * adapter) + _ROOM
    if wish.quantize:
        # Scales and biases of groups of 32 are two more bits a weight, what can't be packed is
        # left as it is.
        whole = base.parameters * (wish.quantize + 2) / 8 + base.size_bytes / 2
    else:
        whole = base.parameters * 4 if base.quantization else base.size_bytes
    return int(max(whole, base.size_bytes) + adapter) + _ROOM


def _put(folder: Path, place: Path) -> None:
    """Give the finished folder its name, all at once; an empty folder there gives way."""
    folder.chmod(0o755)
    for path in (*sorted(folder.iterdir()), folder):
        sync_path(path)
    try:
        folder.rename(place)
    except OSError as error:
        raise StackError(f"{place} can't be made: {error.strerror}.") from error
    sync_path(place.parent)


def _order(registry: Registry, resolved: publication_pb2.ResolvedModel, wish: Wish) -> Order:
    base, lineage = resolved.base_model, resolved.lineage
    return Order(
        base_path=str(registry.locate(base.artifact_path)),
        base_digest=base.digest,
        base_source=base.source,
        base_revision=base.source_revision,
        base_name=base.name,
        model_type=base.model_type,
        adapter_path=str(registry.locate(resolved.version.artifact_path)),
        adapter_digest=resolved.version.checksum,
        model=resolved.model.name,
        version=resolved.version.version,
        job_id=resolved.version.job_id,
        quantize=wish.quantize,
        tolerance=wish.tolerance,
        held_out=_held_out(registry, lineage) if lineage.HasField("dataset") else None,
    )


def _held_out(registry: Registry, lineage: lineage_pb2.Lineage) -> HeldOut:
    data = lineage.dataset
    return HeldOut(
        path=str(registry.locate(f"datasets/{data.digest}.jsonl")),
        digest=data.digest,
        seed=data.split_seed,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        mask_prompt=lineage.training.parameters.get("mask_prompt", "") == "true",
    )
