"""The storage report, the reconciler on demand, and the background check of every byte."""

import asyncio
import os
import shutil
from collections.abc import Awaitable

import pytest
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import storage_report_pb2 as report_pb
from mlx_hub.registry.v1 import storage_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1 import version_pb2

from services.chassis.errors import Unavailable
from services.registry.reconciler import Reconciler
from tests.fixtures.publications import published
from tests.fixtures.registry import RunningRegistry, failure

READY = version_pb2.VERSION_STATUS_READY


def report(hub: RunningRegistry) -> Awaitable[report_pb.StorageReport]:
    return hub.storage.GetStorageReport(pb.GetStorageReportRequest())


def reconcile(hub: RunningRegistry) -> Awaitable[report_pb.StorageReport]:
    return hub.storage.ReconcileStorage(pb.ReconcileStorageRequest())


async def status(hub: RunningRegistry, model_id: int) -> int:
    request = versions_pb.GetModelVersionRequest(model_id=model_id, version="1")
    return (await hub.stub.GetModelVersion(request)).status


async def test_a_report_tells_what_lies_where(hub: RunningRegistry) -> None:
    model, dataset = await hub.model(), await hub.dataset()
    for salt in "ab":
        await published(hub, model.id, dataset, salt)
    before = await report(hub)
    request = versions_pb.ArchiveVersionRequest(model_id=model.id, version="1")
    await hub.stub.ArchiveVersion(request)
    after = await report(hub)
    kinds = [report_pb.StorageAreaKind.Name(a.kind).split("KIND_")[1] for a in after.areas]
    assert kinds == ["HOT", "COLD", "BASE_MODELS", "DATASETS"]
    assert [area.count for area in before.areas] == [2, 0, 1, 1]
    assert [area.count for area in after.areas] == [1, 1, 1, 1]
    freed = before.areas[0].bytes - after.areas[0].bytes
    assert freed == after.areas[1].bytes > 0
    assert {v.setting for v in after.volumes} == {
        "STORAGE_ACTIVE_PATH",
        "STORAGE_ARCHIVE_PATH",
        "MLX_HUB_STORAGE_COLD_PATH",
    }
    assert all(0 < v.free_bytes < v.total_bytes for v in after.volumes)
    assert (after.last_reconcile.error, after.last_reconcile.versions) == ("", 0), "at the start"
    assert (after.scrub.bytes_per_second, after.scrub.artifacts, after.scrub.unchecked) == (0, 4, 4)
    assert not after.mlflow.enabled
    assert (len(after.quarantined), len(after.damaged), after.orphans.count) == (0, 0, 0)


async def test_orphans_wait_and_go_on_demand(hub: RunningRegistry) -> None:
    gone, dataset = await hub.model("gone"), await hub.dataset()
    version = await published(hub, gone.id, dataset)
    archived = versions_pb.ArchiveVersionRequest(model_id=gone.id, version="1")
    await published(hub, gone.id, dataset, "b")
    await hub.stub.ArchiveVersion(archived)
    hub.sql(
        "UPDATE trainer.jobs SET status = 'cancelled', cancel_requested_at = now(),"
        " finished_at = now(), lease_owner = NULL, lease_expires_at = NULL"
    )
    await hub.stub.DeleteModel(models_pb.DeleteModelRequest(model_id=gone.id, force=True))
    staged = hub.settings.storage_active_path / "imports" / "killed"
    staged.mkdir(parents=True)
    (staged / "half").write_text("12345")
    waiting = (await reconcile(hub)).orphans
    assert (waiting.count, waiting.grace_seconds) == (3, 3600)
    assert waiting.bytes > 5
    assert waiting.oldest_at.seconds > 0
    for place in (hub.cold / version.artifact_path, staged / "half", staged):
        os.utime(place, (0, 0))
    settled = await reconcile(hub)
    assert settled.last_reconcile.removed == 2
    assert 5 < settled.last_reconcile.removed_bytes < waiting.bytes
    assert settled.orphans.count == 1, "the hot folder is young"
    assert not staged.exists()
    assert not (hub.cold / version.artifact_path).exists()


async def test_quarantined_versions_are_listed_with_their_aliases(hub: RunningRegistry) -> None:
    model, dataset = await hub.model(), await hub.dataset()
    for salt in "ab":
        version = await published(hub, model.id, dataset, salt)
        (hub.archive / version.artifact_path / "manifest.json").unlink()
    found = await reconcile(hub)
    assert (found.last_reconcile.versions, found.last_reconcile.quarantined) == (2, 2)
    assert found.quarantined_count == 2
    assert [(q.model_name, q.version, q.file) for q in found.quarantined] == [
        ("bot", 2, "manifest.json"),
        ("bot", 1, "manifest.json"),
    ]
    assert [list(q.aliases) for q in found.quarantined] == [["latest"], []]
    again = await reconcile(hub)
    assert (again.last_reconcile.quarantined, again.quarantined_count) == (0, 2)


async def test_bases_and_datasets_are_reported_until_they_are_back(hub: RunningRegistry) -> None:
    await hub.dataset()
    [base] = (hub.archive / "base").iterdir()
    [data] = (hub.archive / "datasets").iterdir()
    kept = base.with_name(".kept")
    base.rename(kept)
    shutil.copy(data, hub.archive / ".data")
    data.unlink()
    damaged = (await reconcile(hub)).damaged
    assert [(d.kind, d.name) for d in damaged] == [
        (report_pb.ARTIFACT_KIND_BASE_MODEL, "tiny"),
        (report_pb.ARTIFACT_KIND_DATASET, "data"),
    ]
    assert (damaged[0].file, damaged[1].file) == ("config.json", data.name)
    kept.rename(base)
    shutil.copy(hub.archive / ".data", data)
    assert list((await reconcile(hub)).damaged) == []


async def test_one_reconcile_at_a_time(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    settle = Reconciler._settle

    async def counted(*args: object) -> object:
        runs.append(args)
        await asyncio.sleep(0.05)
        return await settle(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Reconciler, "_settle", counted)
    await asyncio.gather(*(reconcile(hub) for _ in range(5)))
    assert len(runs) == 1
    await reconcile(hub)
    assert len(runs) == 2


async def test_a_reconcile_that_fails_says_so(hub: RunningRegistry) -> None:
    model = await hub.model()
    await published(hub, model.id, await hub.dataset())
    (hub.archive / "versions").rename(hub.archive / "away")
    error = await failure(reconcile(hub))
    assert isinstance(error, Unavailable)
    (hub.archive / "away").rename(hub.archive / "versions")
    assert "STORAGE_ARCHIVE_PATH" in (await report(hub)).last_reconcile.error
    assert await status(hub, model.id) == READY
