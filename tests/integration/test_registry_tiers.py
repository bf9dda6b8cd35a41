"""Archived versions lie in the cold tier; whenever a move dies, one whole copy is there."""

import asyncio
import errno
import itertools
import time
from pathlib import Path

import grpc
import psycopg
import pytest
from mlx_hub.registry.v1 import provenance_service_pb2 as provenance_pb
from mlx_hub.registry.v1 import storage_service_pb2 as storage_pb
from mlx_hub.registry.v1 import version_messages_pb2 as pb
from mlx_hub.registry.v1 import version_pb2

from services.chassis.errors import DataLoss, Exhausted, Unavailable
from services.registry import files
from services.registry.artifacts import Artifacts
from services.registry.store.session import sessions
from services.registry.store.versions import VersionStore
from services.registry.tiers import Tiers
from tests.fixtures.kills import Steps
from tests.fixtures.registry import failure
from tests.fixtures.registry_process import registry_process
from tests.fixtures.tiers import Versions, start_again

ARCHIVED = version_pb2.VERSION_STATUS_ARCHIVED
READY = version_pb2.VERSION_STATUS_READY
FAILED = version_pb2.VERSION_STATUS_FAILED


async def test_files_follow_the_status(one: Versions) -> None:
    assert (await one.archive()).status == ARCHIVED
    assert one.settled()
    assert not one.hot.exists()
    assert (await failure(one.resolve())).reason == "VERSION_NOT_READY"
    assert (await one.restore()).status == READY
    assert one.settled()
    await one.resolve()


@pytest.mark.parametrize("restoring", [False, True])
async def test_wherever_a_move_dies_a_start_settles_it(
    one: Versions, steps: Steps, restoring: bool
) -> None:
    """Every step in turn is the last one, until the move is over before its end is reached."""
    move, undo = (one.restore, one.archive) if restoring else (one.archive, one.restore)
    ends = set()
    for last in itertools.count():
        await undo()
        steps.done, steps.last = 0, last
        try:
            await move()
            died = False
        except grpc.aio.AioRpcError:
            died = True
        steps.last = -1
        await start_again(one.hub)
        assert one.settled(), f"died at step {last}"
        ends.add(await one.status())
        if not died:
            break
    assert last > 15, "the steps were counted"
    assert ends == {ARCHIVED, READY}, "some deaths came before the COMMIT and some after it"


def await_folder(folder: Path) -> None:
    """Wait up to half a minute."""
    for _ in range(3000):
        if folder.is_dir():
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder} did not come")


async def test_a_kill_before_the_commit_leaves_the_version_in_service(
    one: Versions, tmp_path: Path
) -> None:
    hub, url = one.hub, one.hub.settings.database_url
    async with registry_process(tmp_path, url) as (process, stub):
        # Holding the model's row lets the files be copied and keeps the status from its COMMIT.
        with psycopg.connect(url.replace("+psycopg", "")) as blocker:
            blocker.execute("SELECT FROM registry.models FOR UPDATE")
            request = pb.ArchiveVersionRequest(model_id=one.model_id, version="1")
            call = asyncio.ensure_future(stub.ArchiveVersion(request))
            await asyncio.to_thread(await_folder, one.cold)
            process.kill()
            assert (await failure(call)).reason == "DEPENDENCY_UNAVAILABLE"
    assert not one.settled(), "both tiers hold it"
    async with registry_process(tmp_path, url):
        assert one.settled()
    assert await one.status() == READY
    assert [*hub.cold.rglob("*.safetensors")] == []


async def test_a_damaged_copy_is_refused_and_the_status_stays(one: Versions) -> None:
    await one.archive()
    weights = one.cold / "adapters.safetensors"
    weights.chmod(0o644)
    weights.write_text("wEights")
    error = await failure(one.restore())
    assert isinstance(error, DataLoss)
    assert error.metadata == {"file": "adapters.safetensors"}
    assert await one.status() == ARCHIVED
    weights.write_text("weights")
    assert (await one.restore()).status == READY


async def test_a_damaged_version_is_not_archived(one: Versions) -> None:
    weights = one.hot / "adapters.safetensors"
    weights.chmod(0o644)
    weights.write_text("wEights")
    assert (await failure(one.archive())).reason == "ARTIFACT_CORRUPT"
    assert await one.status() == READY
    assert not list(one.cold.parent.iterdir()), "nothing of it is left in the cold tier"


async def test_a_copy_that_a_crash_left_mends_the_other(one: Versions) -> None:
    """A row says hot, its files are damaged there, and the cold tier still has them."""
    await one.archive()
    one.hub.sql("UPDATE registry.versions SET status = 'ready'")
    await start_again(one.hub)
    assert one.settled()


async def test_moves_at_once_end_in_one_place(one: Versions) -> None:
    for _ in range(3):
        calls = [one.archive(), one.restore(), one.archive(), one.restore()]
        await asyncio.gather(*calls)
        assert one.settled()


async def test_a_load_that_an_archiving_overtakes_names_the_status(
    one: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row was ready when it was read, and the files are gone when they are: no damage."""
    loop, verify = asyncio.get_running_loop(), Artifacts.verify_version

    async def archive() -> None:
        await one.archive()

    def overtaken(*args: object) -> None:
        asyncio.run_coroutine_threadsafe(archive(), loop).result(30)
        verify(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Artifacts, "verify_version", overtaken)
    error = await failure(one.resolve())
    assert (error.reason, error.metadata["status"]) == ("VERSION_NOT_READY", "archived")


async def test_a_caller_who_leaves_does_not_stop_a_move(
    one: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrying, go_on = asyncio.Event(), asyncio.Event()
    loop, carry = asyncio.get_running_loop(), Tiers.carry

    def slow(*args: object) -> None:
        loop.call_soon_threadsafe(carrying.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
        carry(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Tiers, "carry", slow)
    call = asyncio.ensure_future(one.archive())
    await carrying.wait()
    call.cancel()
    go_on.set()
    assert (await one.archive()).status == ARCHIVED
    assert one.settled()


async def test_a_full_cold_tier_changes_nothing(
    one: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files, "write_synced", full)
    error = await failure(one.archive())
    assert isinstance(error, Exhausted)
    assert error.reason == "DISK_FULL"
    assert one.settled()


async def test_a_cold_tier_that_is_away_loses_no_version(one: Versions) -> None:
    await one.archive()
    away = one.hub.cold.with_name("away")
    one.hub.cold.rename(away)
    await start_again(one.hub)
    assert not one.hub.cold.exists(), "a start does not make it anew"
    error = await failure(one.restore())
    assert isinstance(error, Unavailable)
    assert "MLX_HUB_STORAGE_COLD_PATH" in error.message
    for call in (
        one.hub.provenance.VerifyVersion(
            provenance_pb.VerifyVersionRequest(model_id=1, version="1")
        ),
        one.hub.provenance.GetStatement(provenance_pb.GetStatementRequest(model_id=1, version="1")),
    ):
        error = await failure(call)
        assert isinstance(error, Unavailable), "nothing is known to be damaged"
        assert "MLX_HUB_STORAGE_COLD_PATH" in error.message
    assert await one.status() == ARCHIVED
    report = await one.hub.storage.GetStorageReport(storage_pb.GetStorageReportRequest())
    assert [area.available for area in report.areas] == [True, False, True, True]
    away.rename(one.hub.cold)
    assert (await one.restore()).status == READY


async def test_a_start_goes_on_when_the_cold_tier_is_full(
    one: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    one.hub.sql("UPDATE registry.versions SET status = 'archived'")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", full)
        report = await one.hub.storage.ReconcileStorage(storage_pb.ReconcileStorageRequest())
        assert "full" in report.last_reconcile.error
        await start_again(one.hub)
    assert await one.status() == ARCHIVED
    assert one.hot.is_dir()
    await start_again(one.hub)
    assert one.settled()


async def test_versions_archived_before_there_were_tiers_are_moved(one: Versions) -> None:
    one.hub.sql("UPDATE registry.versions SET status = 'archived'")
    await start_again(one.hub)
    assert one.settled()
    assert one.cold.is_dir()


async def test_lost_cold_files_quarantine_the_version(one: Versions) -> None:
    await one.archive()
    (one.cold / "manifest.json").unlink()
    await start_again(one.hub)
    assert await one.status() == FAILED
    assert one.cold.is_dir(), "what is left of it may still be of use"


async def test_whatever_lies_beside_the_recorded_files_moves_too(one: Versions) -> None:
    (one.hot / "notes.txt").write_text("{}")
    await one.archive()
    assert (one.cold / "notes.txt").read_text() == "{}"


async def test_the_last_whole_copy_is_never_removed(one: Versions) -> None:
    hub = one.hub
    tiers = Tiers(Artifacts(hub.settings.storage_active_path, hub.archive), hub.cold)
    version, lineage = await VersionStore(sessions(hub.registry.engine)).find(one.model_id, "1")
    tiers.drop(version, lineage.files, tiers.hot)
    assert one.settled()
