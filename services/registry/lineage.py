"""What a version was made from: recorded once at publication, in the row and in the manifest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from services.chassis.errors import DataLoss, Invalid
from services.registry.domain import BaseModel, Dataset, Model, StoredFile, Version

# An adapter as mlx-lm reads it. Nothing else is ever published.
REQUIRED_FILES = frozenset({"adapters.safetensors", "adapter_config.json"})


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


@dataclass(frozen=True)
class Publication:
    """A finished job's adapter as the trainer hands it over."""

    model_id: int
    dataset_id: int
    staged_path: str
    files: tuple[StoredFile, ...]
    metrics: Mapping[str, float]
    training: Training
    base_digest: str
    dataset_digest: str
    train_rows: int
    valid_rows: int
    test_rows: int = 0
    split_seed: int = 0
    validation_fraction: float = 0.0
    test_fraction: float = 0.0


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
    training: Training
    created_at: datetime | None = None
    # Lineages were written without these before.
    test_rows: int = 0
    split_seed: int = 0
    validation_fraction: float = 0.0
    test_fraction: float = 0.0


def trace(
    publication: Publication, model: Model, base: BaseModel, dataset: Dataset, digest: str
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
        dataset_id=dataset.id,
        dataset_name=dataset.name,
        dataset_digest=dataset.checksum,
        train_rows=publication.train_rows,
        valid_rows=publication.valid_rows,
        training=publication.training,
        test_rows=publication.test_rows,
        split_seed=publication.split_seed,
        validation_fraction=publication.validation_fraction,
        test_fraction=publication.test_fraction,
    )


def check(publication: Publication, base: BaseModel, dataset: Dataset) -> None:
    """Refuse a publication that was not made from what the registry has on record."""
    names = [file.name for file in publication.files]
    missing = REQUIRED_FILES.difference(names)
    if missing or len(names) != len(REQUIRED_FILES):
        raise Invalid(
            "INVALID_FIELD",
            f"files must be exactly {' and '.join(sorted(REQUIRED_FILES))}",
            field="files",
        )
    if publication.training.job_id <= 0 or publication.training.attempt <= 0:
        raise Invalid(
            "INVALID_FIELD",
            "training needs a positive job_id and attempt",
            field="training.job_id",
        )
    if not all(map(math.isfinite, publication.metrics.values())):
        raise Invalid(
            "INVALID_FIELD", "metrics must be finite: the training diverged", field="metrics"
        )
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


def of_version(lineage: Lineage, version: Version) -> Lineage:
    """Complete the recorded lineage with what only the row knows."""
    return replace(lineage, version=version.version, created_at=version.created_at)


def to_json(lineage: Lineage) -> dict[str, Any]:
    """Give the lineage as plain JSON."""
    data = asdict(lineage)
    data.pop("created_at")
    data["files"] = [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in lineage.files]
    for key in ("started_at", "finished_at"):
        data["training"][key] = _stamp(getattr(lineage.training, key))
    return data


def from_json(data: Mapping[str, Any]) -> Lineage:
    """Read what `to_json` wrote."""
    training = dict(data["training"])
    for key in ("started_at", "finished_at"):
        training[key] = datetime.fromisoformat(training[key]) if training[key] else None
    files = tuple(StoredFile(**file) for file in data["files"])
    return Lineage(**{**data, "files": files, "training": Training(**training)})


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
