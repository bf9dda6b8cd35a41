"""What a version was made from: recorded once at publication, in the row and in the manifest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.chassis.errors import DataLoss, Invalid
from services.registry import imported as imports
from services.registry.domain import BaseModel, Dataset, Model, StoredFile, Version
from services.registry.imported import Imported

# An adapter as mlx-lm reads it. Nothing else is ever published.
REQUIRED_FILES = frozenset({"adapters.safetensors", "adapter_config.json"})


class AttemptOutcome(StrEnum):
    """How an attempt at a job ended."""

    UNKNOWN = "unknown"
    FINISHED = "finished"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class TrainingAttempt:
    """One claim of a job by a trainer."""

    number: int
    started_at: datetime | None
    ended_at: datetime | None
    outcome: AttemptOutcome
    resumed_from_step: int
    last_step: int


@dataclass(frozen=True)
class Training:
    """Who trained a version, with which recipe, in which environment."""

    job_id: int
    attempt: int
    seed: int
    parameters: Mapping[str, str]
    code_commit: str
    code_dirty: bool
    lock_digest: str
    environment: Mapping[str, str]
    started_at: datetime | None
    finished_at: datetime | None
    attempts: tuple[TrainingAttempt, ...] = ()
    """Every attempt, the last being the one that finished; empty in old records."""


@dataclass(frozen=True)
class Publication:
    """An adapter as the trainer hands it over, or with `imported` as the operator brought it in."""

    model_id: int
    dataset_id: int
    staged_path: str
    files: tuple[StoredFile, ...]
    metrics: Mapping[str, float]
    training: Training | None
    base_digest: str
    dataset_digest: str
    train_rows: int
    valid_rows: int
    test_rows: int = 0
    split_seed: int = 0
    validation_fraction: float = 0.0
    test_fraction: float = 0.0
    imported: Imported | None = None


@dataclass(frozen=True)
class Lineage:
    """The whole chain below a version."""

    model_id: int
    model_name: str
    version: int
    """0 in the manifest: the number is given when the row is committed."""
    adapter_digest: str
    files: tuple[StoredFile, ...]
    base_name: str
    base_digest: str
    dataset_id: int
    dataset_name: str
    dataset_digest: str
    train_rows: int
    valid_rows: int
    training: Training | None
    created_at: datetime | None = None
    base_source: str = ""  # as is the revision, "" in what was recorded before they were known
    base_revision: str = ""
    papers: tuple[StoredFile, ...] = ()
    """Manifest and statement. Only the row names them, and a row from before statements doesn't."""
    # Lineages were written without these before.
    test_rows: int = 0
    split_seed: int = 0
    validation_fraction: float = 0.0
    test_fraction: float = 0.0
    imported: Imported | None = None
    """Set where `training` is not; the dataset is 0 and empty then."""

    @property
    def trained(self) -> Training:
        """Give the training of a version that is known to have one."""
        if self.training is None:
            raise ValueError("an imported version has no training")
        return self.training

    @property
    def stored(self) -> tuple[StoredFile, ...]:
        """Give everything in the version's folder that the row names."""
        return (*self.files, *self.papers)


def trace(
    publication: Publication, model: Model, base: BaseModel, dataset: Dataset | None, digest: str
) -> Lineage:
    """Tie a publication to the registry's own facts."""
    return Lineage(
        model_id=model.id,
        model_name=model.name,
        version=0,
        adapter_digest=digest,
        files=publication.files,
        base_name=base.name,
        base_digest=base.digest,
        dataset_id=dataset.id if dataset else 0,
        dataset_name=dataset.name if dataset else "",
        dataset_digest=dataset.checksum if dataset else "",
        train_rows=publication.train_rows,
        valid_rows=publication.valid_rows,
        training=publication.training,
        base_source=base.origin.source,
        base_revision=base.origin.revision,
        test_rows=publication.test_rows,
        split_seed=publication.split_seed,
        validation_fraction=publication.validation_fraction,
        test_fraction=publication.test_fraction,
        imported=publication.imported,
    )


def check(publication: Publication, base: BaseModel, dataset: Dataset | None) -> None:
    """Refuse a publication that was not made from what the registry has on record."""
    names = [file.name for file in publication.files]
    missing = REQUIRED_FILES.difference(names)
    if missing or len(names) != len(REQUIRED_FILES):
        raise Invalid(
            "INVALID_FIELD",
            f"files must be exactly {' and '.join(sorted(REQUIRED_FILES))}",
            field="files",
        )
    if not all(map(math.isfinite, publication.metrics.values())):
        raise Invalid(
            "INVALID_FIELD", "metrics must be finite: the training diverged", field="metrics"
        )
    if dataset is None:
        imports.check_pin(publication.base_digest, base)
        return
    for name, seen, recorded in (
        (f"base model {base.name!r}", publication.base_digest, base.digest),
        (f"dataset {dataset.name!r}", publication.dataset_digest, dataset.checksum),
    ):
        if seen != recorded:
            raise DataLoss(
                "ARTIFACT_CORRUPT",
                f"the {name} that the job read is not the one on record; import it again",
                metadata={"file": name},
            )


def check_origin(publication: Publication) -> None:
    """Refuse a publication that is neither a job's nor an import's, or half of each."""
    training = publication.training
    if (training is None) == (publication.imported is None):
        raise Invalid("INVALID_FIELD", "give either training or imported", field="training")
    data = {name: getattr(publication, name) for name in _OF_A_JOB}
    if training is None:
        for name, value in {**data, **dict.fromkeys(publication.metrics, 1)}.items():
            if value:
                raise Invalid(
                    "INVALID_FIELD",
                    f"an imported adapter has no {name}; leave it out",
                    field=name if name in data else "metrics",
                )
    elif training.job_id <= 0 or training.attempt <= 0:
        raise Invalid(
            "INVALID_FIELD",
            "training needs a positive job_id and attempt",
            field="training.job_id",
        )
    else:
        for name in ("dataset_id", "dataset_digest", "train_rows"):
            if not data[name]:
                raise Invalid("INVALID_FIELD", f"training needs {name}", field=name)


_OF_A_JOB = (
    "dataset_id", "dataset_digest", "train_rows", "valid_rows", "test_rows", "split_seed",
    "validation_fraction", "test_fraction",
)  # fmt: skip


def of_version(lineage: Lineage, version: Version) -> Lineage:
    """Complete the recorded lineage with what only the row knows."""
    return replace(lineage, version=version.version, created_at=version.created_at)


def to_json(lineage: Lineage) -> dict[str, Any]:
    """Give the lineage as plain JSON."""
    data = asdict(lineage)
    data.pop("created_at")
    data["files"] = _files(lineage.files)
    if data.pop("papers"):
        data["papers"] = _files(lineage.papers)
    del data["imported"]
    if lineage.imported:
        data["imported"] = imports.to_json(lineage.imported)
    if training := data["training"]:
        for record in (training, *training["attempts"]):
            record.update({k: _stamp(v) for k, v in record.items() if k.endswith("_at")})
    return data


def from_json(data: Mapping[str, Any]) -> Lineage:
    """Read what `to_json` wrote."""
    training = _read_training(data["training"]) if data["training"] else None
    imported = imports.from_json(data["imported"]) if data.get("imported") else None
    named = {
        key: tuple(StoredFile(**file) for file in data.get(key, ())) for key in ("files", "papers")
    }
    return Lineage(**{**data, **named, "training": training, "imported": imported})


def _read_training(data: Mapping[str, Any]) -> Training:
    training = _read_times(data)
    training["attempts"] = tuple(
        TrainingAttempt(**{**_read_times(a), "outcome": AttemptOutcome(a["outcome"])})
        for a in training.get("attempts", ())
    )
    return Training(**training)


def _files(files: tuple[StoredFile, ...]) -> list[dict[str, Any]]:
    return [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in files]


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _read_times(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: datetime.fromisoformat(value) if key.endswith("_at") and value else value
        for key, value in record.items()
    }
