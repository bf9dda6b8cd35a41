"""The statement beside a version: in-toto and SLSA by the book, the same bytes every time."""

import json
import random
from dataclasses import replace

import pytest

from services.registry import lineage as lineages
from services.registry.domain import StoredFile
from services.registry.papers import ENVELOPE, MANIFEST, STATEMENT, digests, papers_of
from services.registry.signing import Keys
from services.registry.statement import contradictions, encode, statement_of
from tests.unit.test_registry_domain import BASE, DATASET, FILES, MODEL, NOW, PUBLICATION, TRAINING

LINEAGE = lineages.trace(
    replace(PUBLICATION, training=replace(TRAINING, finished_at=NOW)),
    MODEL,
    BASE,
    DATASET,
    "e" * 64,
)
SUBJECTS = (*FILES, StoredFile(MANIFEST, 3, "9" * 64))
EXPECTED = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [
        {"name": "adapter_config.json", "digest": {"sha256": "2" * 64}},
        {"name": "adapters.safetensors", "digest": {"sha256": "1" * 64}},
        {"name": "manifest.json", "digest": {"sha256": "9" * 64}},
    ],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": "urn:mlx-hub:lora-training:v1",
            "externalParameters": {
                "model": "bot",
                "baseModel": "tiny",
                "dataset": "data",
                "recipe": {"lora_rank": "8"},
            },
            "internalParameters": {"environment": {"mlx": "0.32.4"}},
            "resolvedDependencies": [
                {
                    "name": "base-model",
                    "uri": "urn:mlx-hub:base-model:tiny",
                    "digest": {"sha256": "a" * 64},
                    "annotations": {
                        "sha256Of": "name\\0size\\0sha256\\n of each file, sorted by name",
                        "source": BASE.origin.source,
                        "revision": BASE.origin.revision,
                    },
                },
                {
                    "name": "dataset",
                    "uri": "urn:mlx-hub:dataset:data",
                    "digest": {"sha256": "b" * 64},
                },
                {"name": "requirements.lock", "digest": {"sha256": "d" * 64}},
                {
                    "name": "code",
                    "digest": {"gitCommit": "c" * 40},
                    "annotations": {"uncommittedChanges": True},
                },
            ],
        },
        "runDetails": {
            "builder": {"id": "urn:mlx-hub:trainer", "version": {"mlx-hub": "1.2"}},
            "metadata": {
                "invocationId": "jobs/5/attempts/2",
                "startedOn": "2026-05-04T03:02:01.123456Z",
                "finishedOn": "2026-05-04T03:02:01.123456Z",
            },
        },
    },
}


def test_a_statement_is_slsa_provenance() -> None:
    assert json.loads(encode(statement_of(LINEAGE, SUBJECTS, "1.2"))) == EXPECTED


def test_what_is_not_known_is_left_out() -> None:
    training = replace(TRAINING, code_commit="", lock_digest="", started_at=None)
    lineage = replace(LINEAGE, training=training, base_source="", base_revision="")
    statement = statement_of(lineage, SUBJECTS, "1.2")
    definition = statement["predicate"]["buildDefinition"]
    assert list(definition["resolvedDependencies"][0]["annotations"]) == ["sha256Of"]
    assert [d["name"] for d in definition["resolvedDependencies"]] == ["base-model", "dataset"]
    assert list(statement["predicate"]["runDetails"]["metadata"]) == ["invocationId"]


def test_papers_are_the_same_bytes_each_time() -> None:
    papers = papers_of(LINEAGE, Keys())
    assert papers == papers_of(LINEAGE, Keys())
    assert list(papers) == [MANIFEST, STATEMENT], f"no {ENVELOPE} without a key"
    subjects = (*FILES, *digests({MANIFEST: papers[MANIFEST]}))
    assert contradictions(papers[STATEMENT], LINEAGE, subjects) == []
    assert lineages.from_json(json.loads(papers[MANIFEST])["lineage"]) == LINEAGE


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (replace(LINEAGE, base_digest="0" * 64), ["dependencies"]),
        (replace(LINEAGE, dataset_digest="0" * 64), ["dependencies"]),
        (replace(LINEAGE, training=replace(TRAINING, code_commit="0" * 40)), ["dependencies"]),
        (replace(LINEAGE, training=replace(TRAINING, attempt=3)), ["job"]),
        (replace(LINEAGE, training=replace(TRAINING, parameters={})), ["recipe"]),
    ],
)
def test_a_statement_of_something_else_is_told(changed: lineages.Lineage, named: list[str]) -> None:
    stated = encode(statement_of(LINEAGE, SUBJECTS, "1.2"))
    assert contradictions(stated, LINEAGE, SUBJECTS) == []
    assert contradictions(stated, changed, SUBJECTS) == named
    assert contradictions(stated, LINEAGE, FILES) == ["subjects"]


def test_no_content_is_too_odd_to_be_judged() -> None:
    stated = encode(statement_of(LINEAGE, SUBJECTS, "1.2"))
    chance = random.Random(3)  # noqa: S311
    odd = [b"", b"[]", b"{}", b'{"predicate": 3}', b"[" * 100_000]
    for _ in range(300):
        flipped = bytearray(stated)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        odd.append(bytes(flipped))
    for content in odd:
        assert isinstance(contradictions(content, LINEAGE, SUBJECTS), list)
    assert contradictions(b"{}", LINEAGE, SUBJECTS) == ["form"]
