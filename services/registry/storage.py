"""How the stored files are, as facts: what lies where, what is damaged, what waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.registry.domain import StoredFile, VersionStatus


class ArtifactKind(StrEnum):
    """What a stored folder or file belongs to."""

    VERSION = "version"
    BASE_MODEL = "base_model"
    DATASET = "dataset"


class AreaKind(StrEnum):
    """The parts of the store."""

    HOT = "hot"
    COLD = "cold"
    BASE_MODELS = "base_models"
    DATASETS = "datasets"


@dataclass(frozen=True)
class Stored:
    """An artifact that a row knows; `id` is the row's; a version's name is `model:number`.

    `folder` holds the files: relative to the cold tier when `cold`, else to the archive.
    """

    kind: ArtifactKind
    id: int
    name: str
    path: str
    folder: str
    files: tuple[StoredFile, ...]
    cold: bool
    checked_at: datetime | None
    damaged: str


@dataclass(frozen=True)
class Orphan:
    """A file or folder that no row knows."""

    name: str
    bytes: int
    changed_at: float


@dataclass(frozen=True)
class Reconciliation:
    """One comparison of files and rows; `error` says why it ended early."""

    started_at: datetime
    seconds: float
    error: str = ""
    versions: int = 0
    settled: int = 0
    quarantined: int = 0
    removed: tuple[Orphan, ...] = ()


@dataclass(frozen=True)
class Quarantined:
    """A version that lost files, with the aliases that still name it."""

    model_id: int
    model_name: str
    version: int
    file: str
    at: datetime
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Area:
    """How much lies in one part of the store."""

    kind: AreaKind
    available: bool
    count: int
    bytes: int


@dataclass(frozen=True)
class Volume:
    """Room on the volume of the folder that a setting names."""

    setting: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Counted:
    """How much is on record, deleted models and their versions left out."""

    models: int
    base_models: int
    datasets: int
    versions: Mapping[VersionStatus, int]


@dataclass(frozen=True)
class Checked:
    """How many artifacts are on record, and how recently they were checked."""

    artifacts: int
    unchecked: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class MirrorStatus:
    """Whether MLflow has heard everything, and if not, since when and why."""

    enabled: bool
    pending: int = 0
    parked: int = 0
    oldest_seconds: float = 0.0
    failing_since: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True)
class Report:
    """All of it."""

    last_reconcile: Reconciliation | None
    quarantined: tuple[Quarantined, ...]
    quarantined_count: int
    damaged: tuple[Stored, ...]
    orphans: tuple[Orphan, ...]
    grace_s: float
    areas: tuple[Area, ...]
    volumes: tuple[Volume, ...]
    scrub_rate: int
    scrub_read: int
    checked: Checked
    mirror: MirrorStatus
