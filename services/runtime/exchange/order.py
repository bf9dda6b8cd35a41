"""What an export is asked for, as whoever starts the child writes it."""

import contextlib
import json
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.runtime.exchange.layout import StoredError
from services.runtime.folder import FolderError, digest_of, hash_folder

REPORT = "export.json"


@dataclass(frozen=True)
class HeldOut:
    """Where a version's rows lie, how they were split, and how they were read."""

    path: str
    digest: str
    seed: int
    validation_fraction: float
    test_fraction: float
    mask_prompt: bool


@dataclass(frozen=True)
class Order:
    """A version's stored files, and what is to become of them."""

    base_path: str
    base_digest: str
    base_source: str
    base_revision: str
    base_name: str
    model_type: str
    adapter_path: str
    adapter_digest: str
    model: str
    version: int
    job_id: int
    quantize: int
    """Bits of a packed weight; 0 leaves them dense."""
    tolerance: float
    held_out: HeldOut | None

    @classmethod
    def read(cls, text: str) -> "Order":
        """Read what `write` wrote."""
        data = json.loads(text)
        held_out = HeldOut(**data["held_out"]) if data["held_out"] else None
        return cls(**{**data, "held_out": held_out})

    def write(self) -> str:
        """Give it as one line."""
        return json.dumps(asdict(self))


def check_base(order: Order) -> None:
    """Refuse a stored base model that is not the one that was imported, before it is parsed."""
    try:
        found = digest_of(hash_folder(Path(order.base_path)))
    except (FolderError, OSError):
        found = ""
    if found != order.base_digest:
        raise StoredError(
            "the stored base model no longer has the recorded hash; run `mlx-hub doctor`, and "
            "import it again",
            order.base_name,
        )


def take_adapter(order: Order, names: Iterable[str], private: Path) -> None:
    """Copy a version's files to where nobody else writes; refuse those that were not published."""
    private.mkdir()
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(Path(order.adapter_path) / name, private / name)
    if digest_of(hash_folder(private)) != order.adapter_digest:
        raise StoredError(
            f"the stored files of version {order.version} are not what was published; run "
            f"`mlx-hub verify {order.model}:{order.version}`",
            f"{order.model}:{order.version}",
        )


def report_of(order: Order, form: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Describe an export: what it was made from, by what, and every file that came of it."""
    files = [asdict(file) for file in hash_folder(folder) if file.name != REPORT]
    return {
        "format": 1,
        "form": form,
        "model": order.model,
        "version": order.version,
        "job_id": order.job_id,
        "adapter_digest": order.adapter_digest,
        "base_model": {
            "name": order.base_name,
            "digest": order.base_digest,
            "source": order.base_source,
            "source_revision": order.base_revision,
        },
        **more,
        "tools": tools(),
        "files": files,
    }


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write it beside the files."""
    (folder / REPORT).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


def tools() -> dict[str, str]:
    """Give the versions that an exchange depends on."""
    return {
        "mlx-hub": version("mlx-hub"),
        "mlx": version("mlx"),
        "mlx-lm": version("mlx-lm"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
