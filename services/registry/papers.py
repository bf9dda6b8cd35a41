"""What lies beside a version's files: the manifest, the statement, and the statement signed."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.registry import lineage as lineages
from services.registry import statement
from services.registry.domain import StoredFile
from services.registry.lineage import Lineage
from services.registry.signing import Keys

MANIFEST = "manifest.json"
STATEMENT = "statement.json"
ENVELOPE = "statement.dsse.json"


def papers_of(lineage: Lineage, keys: Keys) -> dict[str, bytes]:
    """Write a version's papers; the envelope only with a key to sign by."""
    manifest = json.dumps(manifest_of(lineage), indent=2, sort_keys=True).encode()
    subjects = (*lineage.files, *digests({MANIFEST: manifest}))
    stated = statement.encode(statement.statement_of(lineage, subjects, version("mlx-hub")))
    signed = keys.seal(stated)
    return {MANIFEST: manifest, STATEMENT: stated} | ({ENVELOPE: signed} if signed else {})


def digests(papers: Mapping[str, bytes]) -> tuple[StoredFile, ...]:
    """Hash papers as the files that they become."""
    return tuple(
        StoredFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in papers.items()
    )


def read(folder: Path) -> dict[str, bytes]:
    """Read the papers that can be read."""
    found = {}
    for name in (MANIFEST, STATEMENT, ENVELOPE):
        with contextlib.suppress(OSError):
            found[name] = (folder / name).read_bytes()
    return found


def contradictions(manifest: bytes, lineage: Lineage) -> list[str]:
    """Name what a stored manifest says otherwise than the row."""
    try:
        content = json.loads(manifest)
        said, checksum = lineages.from_json(content["lineage"]), content["checksum"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ["form"]
    expected = replace(lineage, papers=())
    wrong = [f.name for f in fields(Lineage) if getattr(said, f.name) != getattr(expected, f.name)]
    return wrong if checksum == lineage.adapter_digest else [*wrong, "checksum"]


def manifest_of(lineage: Lineage) -> dict[str, Any]:
    """Write what lies beside the files: enough to rebuild the row without the database."""
    origin: dict[str, Any] = {}
    if training := lineage.training:
        origin = {
            "dataset_digest": lineage.dataset_digest,
            "job_id": training.job_id,
            "attempt": training.attempt,
            "seed": training.seed,
            "code_commit": training.code_commit,
            "lock_digest": training.lock_digest,
        }
    return {
        "format": 1,
        "checksum": lineage.adapter_digest,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in lineage.files],
        "base_digest": lineage.base_digest,
        **origin,
        "lineage": lineages.to_json(lineage),
    }
