"""The in-toto statement of a version: SLSA provenance v1 of a job or an import, in fixed bytes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.registry.domain import StoredFile
from services.registry.lineage import Lineage

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mlx-hub:lora-training:v1"
BUILDER = "urn:mlx-hub:trainer"
IMPORT_TYPE = "urn:mlx-hub:adapter-import:v1"
IMPORTER = "urn:mlx-hub:adapter-importer"
# Which of the parameters says how the files came to be.
_HOW = {BUILD_TYPE: "recipe", IMPORT_TYPE: "import"}
# A model folder is hashed over a listing of its files, not over the bytes of one file.
_FOLDER = {"sha256Of": "name\\0size\\0sha256\\n of each file, sorted by name"}


@dataclass(frozen=True)
class _Build:
    """How the files came to be, in SLSA's terms."""

    kind: str
    builder: str
    invocation: str
    parameters: Mapping[str, Any]
    environment: Mapping[str, str]
    times: Mapping[str, datetime | None]


def statement_of(lineage: Lineage, subjects: Iterable[StoredFile], hub: str) -> dict[str, Any]:
    """State that these files were made as the lineage says; `hub` is the builder's version."""
    build = _build_of(lineage)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": file.name, "digest": {"sha256": file.sha256}}
            for file in sorted(subjects, key=lambda file: file.name)
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": build.kind,
                "externalParameters": {
                    "model": lineage.model_name,
                    "baseModel": lineage.base_name,
                    **build.parameters,
                },
                "internalParameters": {"environment": dict(build.environment)},
                "resolvedDependencies": _dependencies(lineage),
            },
            "runDetails": {
                "builder": {"id": build.builder, "version": {"mlx-hub": hub}},
                "metadata": {
                    "invocationId": build.invocation,
                    **{name: _rfc3339(moment) for name, moment in build.times.items() if moment},
                },
            },
        },
    }


def _build_of(lineage: Lineage) -> _Build:
    if (imported := lineage.imported) is not None:
        return _Build(
            kind=IMPORT_TYPE,
            builder=IMPORTER,
            invocation=f"imports/{lineage.adapter_digest}",
            parameters={"import": imported.facts()},
            environment=imported.environment,
            times={"finishedOn": imported.imported_at},
        )
    training = lineage.trained
    return _Build(
        kind=BUILD_TYPE,
        builder=BUILDER,
        invocation=f"jobs/{training.job_id}/attempts/{training.attempt}",
        parameters={"dataset": lineage.dataset_name, "recipe": dict(training.parameters)},
        environment=training.environment,
        times={"startedOn": training.started_at, "finishedOn": training.finished_at},
    )


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
    return [name for name, claim in expected.items() if said.get(name) != claim]


def _claims(statement: Any) -> dict[str, Any]:
    """Pick what a statement is for; words around it may change from release to release."""
    definition = statement["predicate"]["buildDefinition"]
    how = _HOW[definition["buildType"]]
    return {
        "type": (statement["_type"], statement["predicateType"], definition["buildType"]),
        "subjects": statement["subject"],
        "dependencies": {d["name"]: d["digest"] for d in definition["resolvedDependencies"]},
        how: definition["externalParameters"][how],
        "job": statement["predicate"]["runDetails"]["metadata"]["invocationId"],
    }


def _dependencies(lineage: Lineage) -> list[dict[str, Any]]:
    origin = {"source": lineage.base_source, "revision": lineage.base_revision}
    known = {name: value for name, value in origin.items() if value}
    base = {
        "name": "base-model",
        "uri": f"urn:mlx-hub:base-model:{lineage.base_name}",
        "digest": {"sha256": lineage.base_digest},
        "annotations": {**_FOLDER, **known},
    }
    if lineage.imported:
        files = sorted(lineage.imported.source_files, key=lambda file: file.name)
        return [base, *({"name": f.name, "digest": {"sha256": f.sha256}} for f in files)]
    return [base, *_of_a_job(lineage)]


def _of_a_job(lineage: Lineage) -> Iterator[dict[str, Any]]:
    training = lineage.trained
    yield {
        "name": "dataset",
        "uri": f"urn:mlx-hub:dataset:{lineage.dataset_name}",
        "digest": {"sha256": lineage.dataset_digest},
    }
    if training.lock_digest:
        yield {"name": "requirements.lock", "digest": {"sha256": training.lock_digest}}
    if training.code_commit:
        dirty = {"uncommittedChanges": training.code_dirty}
        commit = {"gitCommit": training.code_commit}
        yield {"name": "code", "digest": commit, "annotations": dirty}


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
