"""Conversions: what goes out can come back, and no field of the contract is forgotten."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import publication_pb2
from mlx_hub.registry.v1 import registry_service_pb2 as pb

from services.registry import lineage as lineages
from services.registry.domain import (
    DatasetSchema,
    Event,
    EventType,
    MlflowSync,
    ModelFilter,
    NewModel,
    VersionStatus,
)
from services.registry.lifecycle import ModelChange
from services.registry.messages import datasets, files, models, resolved, times, versions
from services.registry.resolution import Resolved
from tests.unit.test_registry_domain import (
    BASE,
    DATASET,
    FILES,
    MODEL,
    NOW,
    PUBLICATION,
    TRAINING,
    VERSION,
)

FULL_TRAINING = replace(TRAINING, finished_at=NOW)
FULL_MODEL = replace(
    MODEL,
    description="Helps.",
    tags={"team": "x"},
    mlflow_experiment_id="7",
    mlflow_sync=MlflowSync.SYNCED,
)
LINEAGE = lineages.of_version(
    lineages.trace(
        replace(PUBLICATION, training=FULL_TRAINING), FULL_MODEL, BASE, DATASET, "e" * 64
    ),
    VERSION,
)
RESOLVED = Resolved(FULL_MODEL, BASE, VERSION, LINEAGE)
EVENT = Event(1, EventType.TRAINED, 2, {"job_id": "5"}, NOW, VERSION)


@pytest.mark.parametrize(
    "message",
    [
        models.to_model(FULL_MODEL),
        datasets.to_dataset(DATASET),
        models.to_base_model(BASE),
        versions.to_version(VERSION),
        models.to_event(EVENT),
        resolved.to_resolved(RESOLVED),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_field_of_the_contract_is_written(message: Message) -> None:
    assert unset(message) == set()


@pytest.mark.parametrize(
    "message", [versions.to_lineage(LINEAGE), resolved.to_resolved(RESOLVED).lineage]
)
def test_a_trained_version_s_lineage_lacks_an_import_alone(message: Message) -> None:
    assert unset(message) == {"imported"}


def unset(message: Message) -> set[str]:
    written = {field.name for field, _ in message.ListFields()}
    return {field.name for field in message.DESCRIPTOR.fields} - written


def test_a_training_and_its_files_come_back() -> None:
    for training in (TRAINING, FULL_TRAINING, replace(TRAINING, started_at=None)):
        assert versions.from_training(versions.to_training(training)) == training
    for file in FILES:
        assert files.from_file(files.to_file(file)) == file


def test_a_publication_is_read_whole() -> None:
    request = publication_pb2.PublishVersionRequest(
        model_id=1,
        dataset_id=4,
        staged_path="jobs/5/attempt-2",
        files=[files.to_file(file) for file in FILES],
        metrics={"loss": 0.5},
        training=versions.to_training(TRAINING),
        base_digest=BASE.digest,
        dataset_digest=DATASET.checksum,
        train_rows=9,
        valid_rows=1,
        test_rows=2,
        split_seed=3,
        validation_fraction=0.125,
        test_fraction=0.25,
    )
    assert versions.publication(request) == PUBLICATION


def test_a_request_is_read_whole() -> None:
    request = pb.CreateModelRequest(
        name="bot", description="d", base_model="tiny", tags={"a": "b"}, request_id="field"
    )
    assert models.new_model(request, "id", "digest") == NewModel(
        "bot", "text-generation", "d", "tiny", {"a": "b"}, "id", "digest"
    )
    listing = pb.ListModelsRequest(name_prefix="p", task_type="t", tag="k=v")
    assert models.model_filter(listing) == ModelFilter("p", "t", "k=v")


def test_a_broken_size_matches_no_file() -> None:
    for size in (1.5, float("nan"), float("inf")):
        message = files.to_file(FILES[0])
        message.size_bytes = size
        assert files.from_file(message).size == -1


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (models.SYNC, MlflowSync),
        (datasets.SCHEMA, DatasetSchema),
        (versions.STATUS, VersionStatus),
        (models.EVENT, EventType),
    ],
)
def test_enums_are_mapped_one_to_one(table: dict[Any, int], values: Callable[..., Any]) -> None:
    assert set(table) == set(values)  # type: ignore[call-overload]
    assert len(set(table.values())) == len(table)
    assert 0 not in table.values()


def test_times_keep_their_microseconds() -> None:
    stamp = times.to_timestamp(NOW)
    assert stamp is not None
    assert stamp.ToDatetime(tzinfo=UTC) == NOW
    assert times.to_timestamp(None) is None
    assert datetime.fromisoformat(NOW.isoformat()) == NOW


def test_a_change_is_read_with_and_without_a_mask() -> None:
    request = models_pb.UpdateModelRequest(model_id=1, tags={"a": "b"})
    assert models.model_change(request) == ModelChange(1, {"tags": {"a": "b"}})
    request = models_pb.UpdateModelRequest(model_id=1, description="")
    assert models.model_change(request) == ModelChange(1, {"description": ""})
    request.update_mask.paths.extend(["tags", "description"])
    assert models.model_change(request) == ModelChange(1, {"tags": {}, "description": ""})
