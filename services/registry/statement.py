"""The in-toto statement of a version: SLSA provenance v1 of one training job, in fixed bytes."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from services.registry.domain import StoredFile
from services.registry.lineage import Lineage

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mlx-hub:lora-training:v1"
BUILDER = "urn:mlx-hub:trainer"
# A model folder is hashed over a listing of its files, not over the bytes of one file.
_FOLDER = {"sha256Of": "name\\0size\\0sha256\\n of each file, sorted by name"}


def statement_of(lineage: Lineage, subjects: Iterable[StoredFile], hub: str) -> dict[str, Any]:
    """State that these files were made as the lineage says; `hub` is the builder's version."""
    training = lineage.training
    times = {"startedOn": training.started_at, "finishedOn": training.finished_at}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": file.name, "digest": {"sha256": file.sha256}}
            for file in sorted(subjects, key=lambda file: file.name)
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "model": lineage.model_name,
                    "baseModel": lineage.base_name,
                    "dataset": lineage.dataset_name,
                    "recipe": dict(training.parameters),
                },
                "internalParameters": {"environment": dict(training.environment)},
                "resolvedDependencies": _dependencies(lineage),
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"mlx-hub": hub}},
                "metadata": {
                    "invocationId": f"jobs/{training.job_id}/attempts/{training.attempt}",
                    **{name: _rfc3339(moment) for name, moment in times.items() if moment},
                },
            },
        },
    }


def encode(statement: Mapping[str, Any]) -> bytes:
    """Write a statement; the same statement gives the same bytes."""
    return json.dumps(statement, indent=2, sort_keys=True).encode()


def contradictions(content: bytes, lineage: Lineage, subjects: Iterable[StoredFile]) -> list[str]:
    """Name what a stored statement says otherwise than the record."""
    expected = _claims(statement_of(lineage, subjects, ""))
    try:
        said = _claims(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ["form"]
    return [name for name, claim in expected.items() if said[name] != claim]


def _claims(statement: Any) -> dict[str, Any]:
    """Pick what a statement is for; words around it may change from release to release."""
    definition = statement["predicate"]["buildDefinition"]
    return {
        "type": (statement["_type"], statement["predicateType"], definition["buildType"]),
        "subjects": statement["subject"],
        "dependencies": {d["name"]: d["digest"] for d in definition["resolvedDependencies"]},
        "recipe": definition["externalParameters"]["recipe"],
        "job": statement["predicate"]["runDetails"]["metadata"]["invocationId"],
    }


def _dependencies(lineage: Lineage) -> list[dict[str, Any]]:
    training = lineage.training
    origin = {"source": lineage.base_source, "revision": lineage.base_revision}
    known = {name: value for name, value in origin.items() if value}
    found: list[dict[str, Any]] = [
        {
            "name": "base-model",
            "uri": f"urn:mlx-hub:base-model:{lineage.base_name}",
            "digest": {"sha256": lineage.base_digest},
            "annotations": {**_FOLDER, **known},
        },
        {
            "name": "dataset",
            "uri": f"urn:mlx-hub:dataset:{lineage.dataset_name}",
            "digest": {"sha256": lineage.dataset_digest},
        },
    ]
    if training.lock_digest:
        found.append({"name": "requirements.lock", "digest": {"sha256": training.lock_digest}})
    if training.code_commit:
        dirty = {"uncommittedChanges": training.code_dirty}
        commit = {"gitCommit": training.code_commit}
        found.append({"name": "code", "digest": commit, "annotations": dirty})
    return found


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
