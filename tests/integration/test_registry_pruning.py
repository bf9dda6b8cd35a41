"""Reports and checks: kept with what they are of, and gone with it."""

import json

import pytest
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import storage_service_pb2 as pb

from services.registry import pruner
from services.registry.reports import CODE
from tests.fixtures.publications import END_JOBS, published
from tests.fixtures.registry import RunningRegistry

CHECKS = "SELECT path FROM registry.stored_checks"
REPORT = """
INSERT INTO registry.dataset_reports (checksum, base_digest, parameters, report, created_at)
SELECT checksum, digest, %s, '', now() - %s * interval '1 hour'
FROM registry.datasets, registry.base_models
"""


def reports(hub: RunningRegistry) -> list[str]:
    """List which seeds' reports are kept."""
    found = hub.sql("SELECT parameters::jsonb->>'seed' FROM registry.dataset_reports")
    return sorted(str(seed) for (seed,) in found)


def keep_report(hub: RunningRegistry, seed: int, hours: int = 0, **code: object) -> None:
    hub.sql(REPORT, json.dumps({**CODE, "seed": seed, **code}), hours)


async def reconcile(hub: RunningRegistry) -> None:
    await hub.storage.ReconcileStorage(pb.ReconcileStorageRequest())


async def delete_dataset(hub: RunningRegistry, dataset_id: int) -> None:
    request = datasets_pb.DeleteDatasetRequest(dataset_id=dataset_id)
    await hub.datasets.DeleteDataset(request)


async def check_all(hub: RunningRegistry) -> set[str]:
    """Check everything that is on record; give the paths."""
    scrub = hub.registry.storage.scrubber
    scrub.reader.rate = 10**9
    await scrub.scrub()
    return {str(path) for (path,) in hub.sql(CHECKS)}


async def test_a_dataset_takes_its_reports_and_its_check_along(hub: RunningRegistry) -> None:
    gone = await hub.dataset("gone", rows=3)
    keep_report(hub, seed=1)
    await check_all(hub)
    await delete_dataset(hub, gone)
    await hub.dataset("stays")
    keep_report(hub, seed=2)
    before = await check_all(hub)
    await reconcile(hub)
    assert reports(hub) == ["2"]
    after = {str(path) for (path,) in hub.sql(CHECKS)}
    assert len(before - after) == 1
    assert {path.partition("/")[0] for path in after} == {"base", "datasets"}


async def test_a_second_name_of_the_same_data_keeps_them(hub: RunningRegistry) -> None:
    first, _ = await hub.dataset("first"), await hub.dataset("second")
    await check_all(hub)
    await delete_dataset(hub, first)
    before = hub.sql(CHECKS)
    await reconcile(hub)
    assert sorted(hub.sql(CHECKS)) == sorted(before)


async def test_a_deleted_models_versions_are_forgotten(hub: RunningRegistry) -> None:
    model = await hub.model()
    version = await published(hub, model.id, await hub.dataset())
    assert version.artifact_path in await check_all(hub)
    hub.sql(END_JOBS)
    await hub.stub.DeleteModel(models_pb.DeleteModelRequest(model_id=model.id, force=True))
    await reconcile(hub)
    assert (version.artifact_path,) not in hub.sql(CHECKS)


async def test_reports_of_other_code_and_the_oldest_of_too_many_go(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.dataset()
    keep_report(hub, seed=0, revision=0)
    for seed in (1, 2, 3):
        keep_report(hub, seed=seed, hours=seed)
    await reconcile(hub)
    assert reports(hub) == ["1", "2", "3"]
    monkeypatch.setattr(pruner, "REPORTS_KEPT", 2)
    await check_all(hub)
    await check_all(hub)
    assert reports(hub) == ["1", "2"], "the background check does it too, once nothing is due"
