"""`mlx-hub versions import`: an adapter that was trained elsewhere becomes a version."""

import getpass
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from mlx_hub.registry.v1 import lineage_pb2, publication_pb2, version_pb2

from services.stack.errors import StackError
from services.stack.importing import Say, run_child
from services.stack.registry import running_registry
from services.stack.settings import StackSettings

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FORMATS = {"peft": lineage_pb2.ADAPTER_FORMAT_PEFT, "mlx": lineage_pb2.ADAPTER_FORMAT_MLX}


@dataclass(frozen=True)
class Pin:
    """What the operator says of the base model: its digest, or that nobody knows it."""

    base_digest: str = ""
    unpinned: bool = False


def import_version(
    settings: StackSettings, folder: Path, model: str, pin: Pin, say: Say
) -> version_pb2.ModelVersion:
    """Check, convert and publish an adapter; the same one again gives the version it has."""
    if pin.base_digest and not _DIGEST.fullmatch(pin.base_digest):
        raise StackError("--base-digest is not a SHA-256 in hex, of 64 of 0-9 and a-f.")
    staged = f"imports/{uuid.uuid4().hex}"
    place = settings.storage_active_path / staged
    with running_registry(settings) as registry:
        resolved = registry.resolve(model, "base")
        base = resolved.base_model
        if pin.base_digest and pin.base_digest != base.digest:
            raise StackError(
                f"--base-digest is {pin.base_digest[:12]}…, and {model}'s base model {base.name} "
                f"has {base.digest[:12]}…; import the adapter into a model over its own base."
            )
        try:
            place.mkdir(parents=True)
            words = ["services.runtime.exchange.bring_in", str(folder.absolute())]
            words += [str(registry.locate(base.artifact_path)), str(place / "adapter")]
            told = run_child([*words, f"--base-digest={base.digest}"], {**os.environ}, say)
            origin = _origin(folder, told, _pin(pin, told, base.name, base.digest))
            request = publication_pb2.PublishVersionRequest(
                model_id=resolved.model.id,
                staged_path=f"{staged}/adapter",
                files=_files(told["files"]),
                base_digest=base.digest,
                imported=origin,
            )
            say("publishing")
            return registry.publish(request)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _pin(pin: Pin, told: dict[str, Any], base: str, digest: str) -> "lineage_pb2.BasePin.ValueType":
    if told["pinned"]:
        return lineage_pb2.BASE_PIN_SOURCE
    if pin.base_digest:
        return lineage_pb2.BASE_PIN_OPERATOR
    if pin.unpinned:
        return lineage_pb2.BASE_PIN_NONE
    stated = f" (its files name {told['stated_base']})" if told["stated_base"] else ""
    raise StackError(
        f"Nothing ties this adapter to the base model {base}{stated}. On another one it would load "
        f"and answer wrongly. If you know that it was trained on this one, say --base-digest "
        f"{digest}; if not, --unpinned takes it all the same, and its lineage says so."
    )


def _origin(
    folder: Path, told: dict[str, Any], pin: "lineage_pb2.BasePin.ValueType"
) -> lineage_pb2.ImportProvenance:
    now = Timestamp()
    now.GetCurrentTime()
    return lineage_pb2.ImportProvenance(
        format=_FORMATS[told["format"]],
        source=folder.resolve().name or "/",
        source_files=_files(told["source_files"]),
        pin=pin,
        stated_base=told["stated_base"],
        imported_by=_account(),
        imported_at=now,
        environment=told["environment"],
    )


def _files(described: list[dict[str, Any]]) -> list[lineage_pb2.ArtifactFile]:
    return [
        lineage_pb2.ArtifactFile(name=f["name"], size_bytes=f["size"], sha256=f["sha256"])
        for f in described
    ]


def _account() -> str:
    try:
        return getpass.getuser()[:100]
    except (KeyError, OSError):  # an account without a name
        return f"uid {os.getuid()}"
