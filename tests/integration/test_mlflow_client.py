"""What a delivery leaves in MLflow, made once or many times, by a server and without one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.registry import lineage as lineages
from services.registry.domain import Model, Version, VersionStatus
from services.registry.lineage import AttemptOutcome
from services.registry.mlflow_sync.client import Client
from services.registry.store.outbox import Delivery, Job
from services.registry.training import Ended, Fact, Measured, Started
from tests.fixtures.mlflow_seen import Seen
from tests.fixtures.registry_process import free_port
from tests.unit.test_registry_domain import (
    BASE,
    DATASET,
    MODEL,
    NOW,
    PUBLICATION,
    TRAINING,
    VERSION,
)

STARTED = Started(DATASET.id, {"lora_rank": "8"})
FACTS = (
    Fact(2, 1, NOW, STARTED),
    *(Fact(n, 1, NOW, Measured(n, {"loss": 1 / n, "epoch": 0.0})) for n in range(3, 900)),
    Fact(900, 1, NOW, Ended(AttemptOutcome.LOST, "")),
    Fact(901, 2, NOW, STARTED),
    Fact(902, 2, NOW, Measured(800, {"loss": 0.5})),
    Fact(903, 2, NOW, Ended(AttemptOutcome.FAILED, "DISK_FULL")),
)
JOB = Job(5, FACTS, {DATASET.id: (DATASET.name, DATASET.checksum)})


@pytest.fixture
def model() -> Model:
    """Give a model that the session's server has not seen."""
    return replace(MODEL, name=f"bot-{free_port()}")


@pytest.fixture
def client(mlflow: Seen, tmp_path: Path) -> Client:
    return Client(mlflow.uri, tmp_path, tmp_path / "cold")


def delivery(model: Model, aliases: Mapping[str, int] | None = None, **news: Any) -> Delivery:
    subject = {"version": None, "lineage": None, "job": None, "retried": False, **news}
    return Delivery(id=1, model=model, aliases=aliases or {}, revision=0, **subject)


def published(model: Model, number: int, archive: Path, **fields: Any) -> dict[str, Any]:
    """Give a version with files and its lineage."""
    path = f"versions/{number}"
    version: Version = replace(
        VERSION, id=number, version=number, job_id=number, artifact_path=path, **fields
    )
    training = replace(TRAINING, job_id=number)
    made = replace(PUBLICATION, training=training)
    lineage = lineages.trace(made, model, BASE, DATASET, version.checksum)
    (archive / path).mkdir(parents=True, exist_ok=True)
    for name in (*(file.name for file in lineage.files), "manifest.json"):
        (archive / path / name).write_text("x")
    return {"version": version, "lineage": lineage}


def test_what_is_delivered_again_changes_nothing(
    mlflow: Seen, client: Client, model: Model, tmp_path: Path
) -> None:
    final = published(model, 5, tmp_path)
    for retried in (False, True, False):
        experiment = client.deliver(delivery(model, job=JOB, retried=retried))
        assert client.deliver(delivery(model, {"champion": 5}, **final)) == experiment
    first, second = mlflow.runs(experiment)
    assert mlflow.history(first, "loss") == [(n, 1 / n) for n in range(3, 900)]
    assert len(mlflow.history(first, "epoch")) == 897
    assert mlflow.history(second, "loss") == [(800, 0.5)]
    assert mlflow.history(second, "final_loss") == [(0, 0.5)]
    assert (first.info.status, second.info.status) == ("FAILED", "FINISHED")
    assert second.data.params == {"lora_rank": "8"}
    assert len(mlflow.artifacts(second)) == 3
    assert second.inputs
    assert len(second.inputs.dataset_inputs) == 1
    [version] = mlflow.client.search_model_versions(f"name = 'mlx-hub.{model.name}'")
    assert version.tags["mlx_hub.checksum"] == VERSION.checksum
    assert mlflow.aliases(model.name) == {"champion": 1}


def test_aliases_are_set_moved_and_deleted(
    mlflow: Seen, client: Client, model: Model, tmp_path: Path
) -> None:
    name = f"mlx-hub.{model.name}"
    client.deliver(delivery(model, {"champion": 1}))  # its version is still to come
    assert mlflow.aliases(model.name) == {}
    one = {"champion": 1, "latest": 1, "pinned.1": 1}
    client.deliver(delivery(model, one, **published(model, 1, tmp_path)))
    assert mlflow.aliases(model.name) == {"champion": 1}
    assert mlflow.registered(model.name).tags["mlx_hub.alias.pinned.1"] == "1"
    assert "mlx_hub.alias.latest" not in mlflow.registered(model.name).tags
    mlflow.client.set_registered_model_alias(name, "theirs", "1")
    client.deliver(delivery(model, one, **published(model, 2, tmp_path)))
    client.deliver(delivery(model, {"champion": 2, "canary": 1}))
    assert mlflow.aliases(model.name) == {"champion": 2, "canary": 1, "theirs": 1}
    assert "mlx_hub.alias.pinned.1" not in mlflow.registered(model.name).tags
    client.deliver(delivery(model, {"canary": 1}))
    assert mlflow.aliases(model.name) == {"canary": 1, "theirs": 1}


def test_a_version_whose_files_are_lost_is_told_without_them(
    mlflow: Seen, client: Client, model: Model, tmp_path: Path
) -> None:
    lost = published(model, 3, tmp_path, status=VersionStatus.FAILED)
    for path in (tmp_path / "versions/3").iterdir():
        path.unlink()
    [run] = mlflow.runs(client.deliver(delivery(model, **lost)))
    assert mlflow.artifacts(run) == set()
    assert run.info.status == "FINISHED"
