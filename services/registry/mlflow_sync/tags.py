"""The names and tags by which MLflow's entries and the hub's facts are told to be the same."""

from services.registry.domain import Model, Version
from services.registry.lineage import Lineage

MODEL_TAG = "mlx_hub.model"
VERSION_TAG = "mlx_hub.version_id"
JOB_TAG = "mlx_hub.job_id"
ATTEMPT_TAG = "mlx_hub.attempt"
ORIGIN_TAG = "mlx_hub.origin"
OWN_TAG = "mlx_hub.tag."
ALIAS_TAG = "mlx_hub.alias."
NOTE_TAG = "mlflow.note.content"


def identity_of(model: Model) -> str:
    """Tell a model from one of another hub with the same id."""
    return f"{model.id}@{model.created_at.isoformat()}"


def names_of(model: Model, separator: str) -> tuple[str, str]:
    """Give a model's name in MLflow, and another for when another hub has taken it."""
    name = f"mlx-hub{separator}{model.name}"
    return name, f"{name} ({identity_of(model).replace(':', '.')})"


def tags_of_attempt(job_id: int, attempt: int) -> dict[str, str]:
    """Give what tells a run from all others."""
    return {JOB_TAG: str(job_id), ATTEMPT_TAG: str(attempt)}


def tags_of_origin(version: Version, lineage: Lineage) -> dict[str, str]:
    """Give what tells the run that a version is shown in: its job's, or one for its import."""
    if lineage.training:
        return tags_of_attempt(lineage.training.job_id, lineage.training.attempt)
    return {VERSION_TAG: str(version.id), ORIGIN_TAG: version.origin.value}


def tags_of_version(version: Version) -> dict[str, str]:
    """Give what tells a model's version from all others, and ties it to its files."""
    return {
        VERSION_TAG: str(version.id),
        "mlx_hub.version": str(version.version),
        "mlx_hub.checksum": version.checksum,
    }


def tags_of(version: Version, lineage: Lineage) -> dict[str, str]:
    """Give a finished run's tags: the digests that tie it to the files, and who made it."""
    known = {
        **tags_of_origin(version, lineage),
        **tags_of_version(version),
        "mlx_hub.base_model": lineage.base_name,
        "mlx_hub.base_digest": lineage.base_digest,
    }
    if imported := lineage.imported:
        return known | {f"mlx_hub.import.{name}": fact for name, fact in imported.facts().items()}
    training = lineage.trained
    return known | {
        "mlx_hub.dataset_digest": lineage.dataset_digest,
        "mlx_hub.seed": str(training.seed),
        "mlx_hub.lock_digest": training.lock_digest,
        "mlflow.source.git.commit": training.code_commit,
    }
