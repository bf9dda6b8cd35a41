"""What a crash leaves between the files and the rows, and how a start settles it."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import psycopg
import pytest
from mlx_hub.registry.v1 import model_event_pb2, publication_pb2, version_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import Unavailable
from services.registry.__main__ import Registry
from services.registry.settings import RegistrySettings
from services.registry.store.versions import VersionStore
from tests.fixtures.publications import published, staged
from tests.fixtures.registry import RunningRegistry, failure
from tests.fixtures.registry_process import registry_process


async def start_again(hub: RunningRegistry, grace_s: float = 3600) -> None:
    """Start a second registry on the same data, as after a crash."""
    values = {"home": hub.settings.home, "database_url": hub.settings.database_url}
    again = Registry(RegistrySettings(**values, orphan_grace_seconds=grace_s))  # type: ignore[arg-type]
    try:
        await again.start()
    finally:
        await again.close()


def versions_in(hub: RunningRegistry) -> list[Path]:
    return sorted((hub.archive / "versions").iterdir())


def await_rename(hub: RunningRegistry) -> None:
    """Wait until a published folder has its final name."""
    while not any(not p.name.startswith(".") for p in versions_in(hub)):
        time.sleep(0.01)


async def test_a_folder_without_a_row_goes_after_the_grace_period(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("between rename and COMMIT")

    request = await staged(hub, (await hub.model()).id, await hub.dataset())
    with monkeypatch.context() as patch:
        patch.setattr(VersionStore, "add", crash)
        assert (await failure(hub.stub.PublishVersion(request))).reason == "INTERNAL"
    [orphan] = versions_in(hub)
    await start_again(hub)
    assert versions_in(hub) == [orphan], "the trainer may be about to try again"
    await start_again(hub, grace_s=0)
    assert versions_in(hub) == []
    version = await hub.stub.PublishVersion(request)
    assert version.version == 1
    await start_again(hub, grace_s=0)
    assert [p.name for p in versions_in(hub)] == [Path(version.artifact_path).name]


async def test_a_retry_takes_over_what_the_crash_left(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("between rename and COMMIT")

    request = await staged(hub, (await hub.model()).id, await hub.dataset())
    with monkeypatch.context() as patch:
        patch.setattr(VersionStore, "add", crash)
        await failure(hub.stub.PublishVersion(request))
    [orphan] = versions_in(hub)
    os.utime(orphan, (0, 0))
    version = await hub.stub.PublishVersion(request)
    assert Path(version.artifact_path).name == orphan.name
    assert orphan.stat().st_mtime > 0, "young again: no sweep takes it before its row is there"


async def test_a_damaged_leftover_is_replaced(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("between rename and COMMIT")

    request = await staged(hub, (await hub.model()).id, await hub.dataset())
    with monkeypatch.context() as patch:
        patch.setattr(VersionStore, "add", crash)
        await failure(hub.stub.PublishVersion(request))
    [orphan] = versions_in(hub)
    (orphan / "adapters.safetensors").unlink()
    version = await hub.stub.PublishVersion(request)
    assert (hub.archive / version.artifact_path / "adapters.safetensors").is_file()
    assert versions_in(hub) == [orphan]


async def test_a_kill_between_rename_and_commit_loses_nothing(
    hub: RunningRegistry, tmp_path: Path
) -> None:
    request = await staged(hub, (await hub.model()).id, await hub.dataset())
    url = hub.settings.database_url
    async with registry_process(tmp_path, url) as (process, stub):
        # Holding the model's row lets the files be renamed and keeps the row from its COMMIT.
        with psycopg.connect(url.replace("+psycopg", "")) as blocker:
            blocker.execute("SELECT FROM registry.models FOR UPDATE")
            call = asyncio.ensure_future(stub.PublishVersion(request))
            await asyncio.to_thread(await_rename, hub)
            process.kill()
            assert (await failure(call)).reason == "DEPENDENCY_UNAVAILABLE"
    assert hub.sql("SELECT count(*) FROM registry.versions") == [(0,)]
    settings = {"MLX_HUB_ORPHAN_GRACE_SECONDS": "0"}
    async with registry_process(tmp_path, url, **settings) as (_, stub):
        assert versions_in(hub) == []
        assert (await stub.PublishVersion(request)).version == 1


async def test_temporary_folders_of_a_killed_publication_are_swept(hub: RunningRegistry) -> None:
    for kind in ("base", "versions"):
        (hub.archive / kind / ".tmp-left").mkdir()
        (hub.archive / kind / ".tmp-left" / "half").write_text("x")
    (hub.archive / "datasets" / ".tmp-left").write_text("x")
    await start_again(hub)
    assert len(list(hub.archive.glob("*/.tmp-left"))) == 3
    await hub.dataset()
    await start_again(hub, grace_s=0)
    assert list(hub.archive.glob("*/.tmp-left")) == []
    assert len(list((hub.archive / "datasets").iterdir())) == 1, "what a row knows stays"
    assert len(list((hub.archive / "base").iterdir())) == 1


@pytest.mark.parametrize("lost", ["", "adapters.safetensors", "manifest.json"])
async def test_a_row_without_files_is_quarantined_once(hub: RunningRegistry, lost: str) -> None:
    model_id, dataset_id = (await hub.model()).id, await hub.dataset()
    kept, version = [await published(hub, model_id, dataset_id, salt) for salt in "ab"]
    folder = hub.archive / version.artifact_path
    if lost:
        (folder / lost).unlink()
    else:
        shutil.rmtree(folder)
    await start_again(hub)
    await start_again(hub)
    name = versions_pb.GetModelVersionRequest(model_id=model_id, version="2")
    assert (await hub.stub.GetModelVersion(name)).status == version_pb2.VERSION_STATUS_FAILED
    name.version = "1"
    assert (await hub.stub.GetModelVersion(name)).status == version_pb2.VERSION_STATUS_READY
    history = await hub.stub.GetModelHistory(models_pb.GetModelHistoryRequest(model_id=model_id))
    events = [e for e in history.events if e.type == model_event_pb2.MODEL_EVENT_TYPE_QUARANTINED]
    assert [(e.version, e.details["checksum"]) for e in events] == [(2, version.checksum)]
    resolve = publication_pb2.ResolveModelRequest(model_id=model_id)
    error = await failure(hub.stub.ResolveModel(resolve))
    assert (error.reason, error.metadata["status"]) == ("VERSION_NOT_READY", "failed")
    resolve.version = "1"
    assert (await hub.stub.ResolveModel(resolve)).version.id == kept.id


async def test_a_volume_that_is_not_mounted_fails_no_version(hub: RunningRegistry) -> None:
    await published(hub, (await hub.model()).id, await hub.dataset())
    hub.archive.rename(hub.archive.with_name("away"))
    with pytest.raises(Unavailable, match="STORAGE_ARCHIVE_PATH"):
        await start_again(hub)
    assert hub.sql("SELECT status FROM registry.versions") == [("ready",)]
