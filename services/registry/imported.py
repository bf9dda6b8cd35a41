"""Where a version came from that no job of this hub trained: facts, and their form in JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.chassis.errors import FailedPrecondition
from services.registry.domain import BaseModel, StoredFile


class AdapterFormat(StrEnum):
    """The forms that an adapter is imported from."""

    PEFT = "peft"
    MLX = "mlx"


class BasePin(StrEnum):
    """Who vouches for the base model that an imported adapter was trained on."""

    SOURCE = "source"
    OPERATOR = "operator"
    NONE = "none"


@dataclass(frozen=True)
class Imported:
    """What was read, by whom and when."""

    format: AdapterFormat
    source: str
    """Name of the folder; not its path, which says more about a machine than about an adapter."""
    source_files: tuple[StoredFile, ...]
    pin: BasePin
    stated_base: str
    imported_by: str
    imported_at: datetime
    environment: Mapping[str, str]

    def facts(self) -> dict[str, str]:
        """Give what a history or a statement tells in a few words."""
        told = {
            "format": self.format.value,
            "source": self.source,
            "base_pin": self.pin.value,
            "imported_by": self.imported_by,
        }
        return told | ({"stated_base": self.stated_base} if self.stated_base else {})


def to_json(imported: Imported) -> dict[str, Any]:
    """Give it as plain JSON."""
    files = [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in imported.source_files]
    moment = imported.imported_at.isoformat()
    return {**asdict(imported), "source_files": files, "imported_at": moment}


def from_json(data: Mapping[str, Any]) -> Imported:
    """Read what `to_json` wrote."""
    return Imported(
        **{
            **data,
            "format": AdapterFormat(data["format"]),
            "source_files": tuple(StoredFile(**file) for file in data["source_files"]),
            "pin": BasePin(data["pin"]),
            "imported_at": datetime.fromisoformat(data["imported_at"]),
        }
    )


def check_pin(digest: str, base: BaseModel) -> None:
    """Refuse an adapter that is for another base model than the model's."""
    if digest != base.digest:
        raise FailedPrecondition(
            "ADAPTER_BASE_MISMATCH",
            f"the adapter is pinned to a base model of digest {digest[:12]}…, and base model "
            f"{base.name!r} has {base.digest[:12]}…; import it into a model over its own base",
            metadata={
                "base_model": base.name,
                "expected_digest": digest,
                "base_digest": base.digest,
            },
        )
