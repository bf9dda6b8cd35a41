"""Versions that no job of this hub trained: what is recorded, stated and refused."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.chassis.errors import FailedPrecondition, Invalid
from services.registry import lineage as lineages
from services.registry import quality
from services.registry.domain import StoredFile
from services.registry.imported import AdapterFormat, BasePin, Imported
from services.registry.messages import imports, versions
from services.registry.papers import MANIFEST, STATEMENT, contradictions, digests, papers_of
from services.registry.signing import Keys
from services.registry.statement import contradictions as stated_otherwise
from tests.unit.test_registry_domain import BASE, FILES, MODEL, NOW, PUBLICATION, TRAINING
from tests.unit.test_registry_messages import LINEAGE as TRAINED

IMPORTED = Imported(
    format=AdapterFormat.PEFT,
    source="my-adapter",
    source_files=(
        StoredFile("adapter_model.safetensors", 70, "5" * 64),
        StoredFile("adapter_config.json", 20, "6" * 64),
    ),
    pin=BasePin.OPERATOR,
    stated_base="org/tiny",
    imported_by="kim",
    imported_at=NOW,
    environment={"mlx": "0.32.4"},
)
NEW = lineages.Publication(
    model_id=1,
    dataset_id=0,
    staged_path="imports/x",
    files=FILES,
    metrics={},
    training=None,
    base_digest=BASE.digest,
    dataset_digest="",
    train_rows=0,
    valid_rows=0,
    imported=IMPORTED,
)
LINEAGE = lineages.trace(NEW, MODEL, BASE, None, "e" * 64)


def test_a_lineage_has_no_training_and_survives_json() -> None:
    recorded = json.loads(json.dumps(lineages.to_json(LINEAGE)))
    assert lineages.from_json(recorded) == LINEAGE
    assert (LINEAGE.training, LINEAGE.dataset_id, LINEAGE.dataset_digest) == (None, 0, "")
    with pytest.raises(ValueError, match="no training"):
        _ = LINEAGE.trained
    assert "imported" not in lineages.to_json(TRAINED), "as it was before there were imports"


def test_it_comes_back_from_the_wire_and_fills_what_a_job_leaves_empty() -> None:
    assert imports.from_imported(imports.to_imported(IMPORTED)) == IMPORTED
    completed = replace(LINEAGE, version=2, created_at=datetime(2026, 5, 4, tzinfo=UTC))
    message, other = versions.to_lineage(completed), versions.to_lineage(TRAINED)
    written = {field.name for field, _ in message.ListFields()}
    fields = {field.name for field in message.DESCRIPTOR.fields}
    assert fields - written == {"dataset", "training"}
    assert fields - {field.name for field, _ in other.ListFields()} == {"imported"}


def test_its_papers_state_an_import() -> None:
    papers = papers_of(LINEAGE, Keys())
    manifest, statement = json.loads(papers[MANIFEST]), json.loads(papers[STATEMENT])
    assert not manifest.keys() & {"job_id", "seed", "dataset_digest"}
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"] == "urn:mlx-hub:adapter-import:v1"
    assert definition["externalParameters"]["import"] == {
        "format": "peft",
        "source": "my-adapter",
        "base_pin": "operator",
        "imported_by": "kim",
        "stated_base": "org/tiny",
    }
    depends = {d["name"]: d["digest"]["sha256"] for d in definition["resolvedDependencies"]}
    assert depends == {
        "base-model": BASE.digest,
        "adapter_model.safetensors": "5" * 64,
        "adapter_config.json": "6" * 64,
    }
    details = statement["predicate"]["runDetails"]
    assert details["builder"]["id"] == "urn:mlx-hub:adapter-importer"
    assert details["metadata"] == {
        "invocationId": f"imports/{'e' * 64}",
        "finishedOn": "2026-05-04T03:02:01.123456Z",
    }


def test_papers_of_something_else_are_told() -> None:
    papers = papers_of(LINEAGE, Keys())
    subjects = (*FILES, *digests({MANIFEST: papers[MANIFEST]}))
    assert contradictions(papers[MANIFEST], LINEAGE) == []
    assert stated_otherwise(papers[STATEMENT], LINEAGE, subjects) == []
    by_other = replace(LINEAGE, imported=replace(IMPORTED, imported_by="sam"))
    other_file = replace(LINEAGE, imported=replace(IMPORTED, source_files=FILES))
    assert contradictions(papers[MANIFEST], by_other) == ["imported"]
    assert stated_otherwise(papers[STATEMENT], by_other, subjects) == ["import"]
    assert stated_otherwise(papers[STATEMENT], other_file, subjects) == ["dependencies"]
    as_trained = stated_otherwise(papers[STATEMENT], TRAINED, subjects)
    assert {"type", "recipe", "job", "dependencies"} <= set(as_trained)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"imported": None}, "training"),
        ({"training": TRAINING}, "training"),
        ({"dataset_id": 4}, "dataset_id"),
        ({"dataset_digest": "b" * 64}, "dataset_digest"),
        ({"valid_rows": 1}, "valid_rows"),
        ({"test_fraction": 0.25}, "test_fraction"),
        ({"metrics": {"loss": 0.1}}, "metrics"),
    ],
)
def test_an_import_has_nothing_of_a_job(changes: dict[str, Any], field: str) -> None:
    lineages.check_origin(NEW)
    with pytest.raises(Invalid) as caught:
        lineages.check_origin(replace(NEW, **changes))
    assert caught.value.metadata["field"] == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"training": replace(TRAINING, attempt=0)}, "training.job_id"),
        ({"dataset_id": 0}, "dataset_id"),
        ({"dataset_digest": ""}, "dataset_digest"),
        ({"train_rows": 0}, "train_rows"),
    ],
)
def test_a_job_has_all_of_it(changes: dict[str, Any], field: str) -> None:
    lineages.check_origin(PUBLICATION)
    with pytest.raises(Invalid) as caught:
        lineages.check_origin(replace(PUBLICATION, **changes))
    assert caught.value.metadata["field"] == field


def test_another_base_model_is_refused_with_both_digests() -> None:
    lineages.check(NEW, BASE, None)
    with pytest.raises(FailedPrecondition) as caught:
        lineages.check(replace(NEW, base_digest="0" * 64), BASE, None)
    assert caught.value.reason == "ADAPTER_BASE_MISMATCH"
    assert caught.value.metadata == {
        "base_model": "tiny",
        "expected_digest": "0" * 64,
        "base_digest": "a" * 64,
    }


def test_an_import_brings_no_evaluation() -> None:
    assert quality.trained(replace(NEW, metrics={"val_loss": 1.0}), 1) is None
