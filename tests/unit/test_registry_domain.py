"""The registry's rules that need no server."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.chassis.errors import DataLoss, FailedPrecondition, HubError, Invalid
from services.registry import lineage as lineages
from services.registry.domain import (
    TRANSITIONS,
    BaseModel,
    Dataset,
    DatasetSchema,
    MlflowSync,
    Model,
    ModelFilter,
    Origin,
    StoredFile,
    Version,
    VersionStatus,
    require_ready,
    version_number,
)
from services.registry.papers import manifest_of

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
FILES = (
    StoredFile("adapters.safetensors", 7, "1" * 64),
    StoredFile("adapter_config.json", 2, "2" * 64),
)
ORIGIN = Origin("huggingface:org/tiny", "c0ffee")
BASE = BaseModel(3, "tiny", "a" * 64, "llama", 9, 8, 7, "base/a", FILES, NOW, "4-bit", ORIGIN)
DATASET = Dataset(4, "data", "d.jsonl", "b" * 64, DatasetSchema.CHAT, 10, 100, NOW)
MODEL = Model(1, "bot", "text-generation", "", "tiny", {}, "", MlflowSync.DISABLED, NOW, NOW)
ATTEMPTS = (
    lineages.TrainingAttempt(1, NOW, NOW, lineages.AttemptOutcome.LOST, 0, 7),
    lineages.TrainingAttempt(2, NOW, None, lineages.AttemptOutcome.FINISHED, 4, 9),
)
TRAINING = lineages.Training(
    job_id=5,
    attempt=2,
    seed=11,
    parameters={"lora_rank": "8"},
    code_commit="c" * 40,
    code_dirty=True,
    lock_digest="d" * 64,
    environment={"mlx": "0.32.4"},
    started_at=NOW,
    finished_at=None,
    attempts=ATTEMPTS,
)
PUBLICATION = lineages.Publication(
    model_id=1,
    dataset_id=4,
    staged_path="jobs/5/attempt-2",
    files=FILES,
    metrics={"loss": 0.5},
    training=TRAINING,
    base_digest=BASE.digest,
    dataset_digest=DATASET.checksum,
    train_rows=9,
    valid_rows=1,
    test_rows=2,
    split_seed=3,
    validation_fraction=0.125,
    test_fraction=0.25,
)
VERSION = Version(
    6, 1, 2, VersionStatus.READY, {"loss": 0.5}, "versions/x", "e" * 64, 9, 5, ("latest",), NOW
)


@pytest.mark.parametrize(
    ("reference", "number"),
    [("1", 1), ("007", 7), ("9" * 30, 2**31 - 1), ("latest", None), ("1a", None), ("²", None)],
)
def test_digits_are_a_number_and_all_else_an_alias(reference: str, number: int | None) -> None:
    assert version_number(reference) == number


def test_a_failed_version_stays_failed() -> None:
    assert TRANSITIONS[VersionStatus.FAILED] == frozenset()
    assert set(TRANSITIONS) == set(VersionStatus)
    assert all(VersionStatus.PENDING not in targets for targets in TRANSITIONS.values())


@pytest.mark.parametrize("status", VersionStatus)
def test_only_ready_versions_are_served(status: VersionStatus) -> None:
    version = replace(VERSION, status=status)
    if status is VersionStatus.READY:
        assert require_ready(version) is version
    else:
        with pytest.raises(FailedPrecondition) as caught:
            require_ready(version)
        assert caught.value.metadata == {"version": "2", "status": status.value}


def test_a_tag_filter_is_a_key_or_a_pair() -> None:
    assert ModelFilter(tag="team").tag_parts() == ("team", None)
    assert ModelFilter(tag="team=").tag_parts() == ("team", "")
    assert ModelFilter(tag="team=a=b").tag_parts() == ("team", "a=b")


def test_lineage_survives_json() -> None:
    lineage = lineages.trace(PUBLICATION, MODEL, BASE, DATASET, "e" * 64)
    assert lineages.from_json(lineages.to_json(lineage)) == lineage
    assert (lineage.base_source, lineage.base_revision) == ("huggingface:org/tiny", "c0ffee")
    in_the_row = replace(lineage, papers=FILES)
    assert lineages.from_json(json.loads(json.dumps(lineages.to_json(in_the_row)))) == in_the_row
    old = lineages.to_json(lineage)
    for name in ("test_rows", "split_seed", "validation_fraction", "test_fraction"):
        del old[name]
    assert lineages.from_json(old).train_rows == 9
    complete = lineages.of_version(lineage, VERSION)
    assert (complete.version, complete.created_at) == (2, NOW)


def test_what_was_recorded_before_origins_were_is_read() -> None:
    recorded = lineages.to_json(lineages.trace(PUBLICATION, MODEL, BASE, DATASET, "e" * 64))
    del recorded["base_source"], recorded["base_revision"]
    assert lineages.from_json(recorded).base_source == ""


def test_a_lineage_from_before_attempts_and_statements_is_read() -> None:
    lineage = lineages.trace(PUBLICATION, MODEL, BASE, DATASET, "e" * 64)
    old = lineages.to_json(lineage)
    del old["training"]["attempts"]
    assert "papers" not in old
    assert lineages.from_json(old) == replace(lineage, training=replace(TRAINING, attempts=()))


def test_the_manifest_holds_all_that_leads_back() -> None:
    manifest = manifest_of(lineages.trace(PUBLICATION, MODEL, BASE, DATASET, "e" * 64))
    assert manifest == {
        "format": 1,
        "checksum": "e" * 64,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in FILES],
        "base_digest": BASE.digest,
        "dataset_digest": DATASET.checksum,
        "job_id": 5,
        "attempt": 2,
        "seed": 11,
        "code_commit": TRAINING.code_commit,
        "lock_digest": TRAINING.lock_digest,
        "lineage": manifest["lineage"],
    }
    assert lineages.from_json(manifest["lineage"]).training == TRAINING


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"files": FILES[:1]}, Invalid, "files"),
        ({"files": (*FILES, FILES[0])}, Invalid, "files"),
        ({"files": (*FILES, StoredFile("run.py", 1, "3" * 64))}, Invalid, "files"),
        ({"metrics": {"loss": float("inf")}}, Invalid, "finite"),
        ({"base_digest": "0" * 64}, DataLoss, "base model 'tiny'"),
        ({"dataset_digest": "0" * 64}, DataLoss, "dataset 'data'"),
    ],
)
def test_a_publication_must_come_from_what_is_on_record(
    changes: dict[str, object], kind: type[HubError], text: str
) -> None:
    lineages.check(PUBLICATION, BASE, DATASET)
    with pytest.raises(kind, match=text):
        lineages.check(replace(PUBLICATION, **changes), BASE, DATASET)  # type: ignore[arg-type]
