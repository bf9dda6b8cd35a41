"""The background check of every stored byte."""

import asyncio
import itertools
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mlx_hub.registry.v1 import storage_report_pb2 as report_pb
from mlx_hub.registry.v1 import storage_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1 import version_pb2

from services.registry import scrubber
from services.registry.__main__ import Registry
from services.registry.domain import VersionStatus
from services.registry.scrubber import Scrubber
from services.registry.storage import ArtifactKind, Counted
from tests.fixtures.measured import measured
from tests.fixtures.publications import published
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import registry_process


def report(hub: RunningRegistry) -> Awaitable[report_pb.StorageReport]:
    return hub.storage.GetStorageReport(pb.GetStorageReportRequest())


async def status(hub: RunningRegistry, model_id: int) -> int:
    request = versions_pb.GetModelVersionRequest(model_id=model_id, version="1")
    return (await hub.stub.GetModelVersion(request)).status


@asynccontextmanager
async def scrubbing(hub: RunningRegistry) -> AsyncIterator[Scrubber]:
    """Give the background check of a registry that has just started; it runs when asked."""
    again = Registry(hub.settings.model_copy(update={"scrub_bytes_per_second": 10**12}))
    try:
        yield again.storage.scrubber
    finally:
        await again.close()


def flip(path: Path) -> None:
    """Change one bit, and neither size nor time."""
    seen = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def scrubbed() -> list[float]:
    """Count what was found intact and damaged, by kind."""
    verdicts = itertools.product(ArtifactKind, ("intact", "damaged"))
    name, cause = "storage_verifications_total", "scrub"
    return [measured(name, cause=cause, kind=str(kind), verdict=v) for kind, v in verdicts]


async def test_every_byte_is_read_whatever_its_time_says(hub: RunningRegistry) -> None:
    model, dataset = await hub.model(), await hub.dataset()
    versions = [await published(hub, model.id, dataset, salt) for salt in "ab"]
    [base] = (hub.archive / "base").glob("*/model.safetensors")
    [data] = (hub.archive / "datasets").iterdir()
    for path in (hub.archive / versions[0].artifact_path / "adapter_config.json", base, data):
        flip(path)
    before = scrubbed()
    async with scrubbing(hub) as scrub:
        assert await scrub.scrub() == 4
        assert await scrub.scrub() == 0, "until the checks are old"
        read = scrub.reader.read
        on_record = await scrub._checks.counted()
    assert [now - then for now, then in zip(scrubbed(), before, strict=True)] == [1, 1, 0, 1, 0, 1]
    statuses = {VersionStatus.READY: 1, VersionStatus.FAILED: 1}
    assert on_record == Counted(models=1, base_models=1, datasets=1, versions=statuses)
    found = await report(hub)
    assert [(d.name, d.file) for d in found.damaged] == [("tiny", base.name), ("data", data.name)]
    assert [(q.version, q.file) for q in found.quarantined] == [(1, "adapter_config.json")]
    assert (found.scrub.artifacts, found.scrub.unchecked) == (3, 0)
    assert found.scrub.oldest_check_at.seconds > 0
    assert read > base.stat().st_size
    flip(base)
    hub.sql("UPDATE registry.stored_checks SET checked_at = '2020-01-01'")
    async with scrubbing(hub) as scrub:
        assert await scrub.scrub() == 3, "a failed version is looked at no more"
    assert [d.name for d in (await report(hub)).damaged] == ["data"]


async def test_what_can_not_be_read_is_reported_and_fails_no_version(hub: RunningRegistry) -> None:
    model = await hub.model()
    version = await published(hub, model.id, await hub.dataset())
    weights = hub.archive / version.artifact_path / "adapters.safetensors"
    kept = weights.rename(hub.archive / "kept")
    weights.symlink_to(weights.name)  # reading it is an error other than that it is missing
    async with scrubbing(hub) as scrub:
        await scrub.scrub()
    for _ in range(2):
        found = await hub.storage.ReconcileStorage(pb.ReconcileStorageRequest())
        assert "adapters.safetensors can't be read" in found.last_reconcile.error
        assert [(d.kind, d.name, d.file) for d in found.damaged] == [
            (report_pb.ARTIFACT_KIND_VERSION, "bot:1", "adapters.safetensors")
        ]
    assert await status(hub, model.id) == version_pb2.VERSION_STATUS_READY
    kept.rename(weights)
    found = await hub.storage.ReconcileStorage(pb.ReconcileStorageRequest())
    assert (found.last_reconcile.error, list(found.damaged)) == ("", [])


async def test_checks_go_on_where_they_were(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.dataset()
    monkeypatch.setattr(scrubber, "BATCH", 1)
    for done in (1, 2):
        async with scrubbing(hub) as scrub:
            assert await scrub.scrub() == 1
        [(count,)] = hub.sql("SELECT count(*) FROM registry.stored_checks")
        assert count == done
    hub.sql("UPDATE registry.stored_checks SET checked_at = '2020-01-01' WHERE path ~ '^base'")
    async with scrubbing(hub) as scrub:
        assert (await scrub.scrub(), await scrub.scrub()) == (1, 0)


async def test_an_archived_version_is_checked_where_it_lies(hub: RunningRegistry) -> None:
    model = await hub.model()
    version = await published(hub, model.id, await hub.dataset())
    await hub.stub.ArchiveVersion(versions_pb.ArchiveVersionRequest(model_id=model.id, version="1"))
    folder = hub.cold / version.artifact_path
    async with scrubbing(hub) as scrub:
        await scrub.scrub()
        assert await status(hub, model.id) == version_pb2.VERSION_STATUS_ARCHIVED
        shutil.copytree(folder, hub.archive / version.artifact_path)
        flip(folder / "adapters.safetensors")
        hub.sql("UPDATE registry.stored_checks SET checked_at = '2020-01-01'")
        await scrub.scrub()
    assert await status(hub, model.id) == version_pb2.VERSION_STATUS_ARCHIVED
    assert (folder / "adapters.safetensors").read_text() == "weights", "mended by the other copy"
    assert not (hub.archive / version.artifact_path).exists()


async def test_a_version_that_leaves_while_it_is_read_is_not_damaged(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await hub.model()
    await published(hub, model.id, await hub.dataset())
    loop, read = asyncio.get_running_loop(), Scrubber._read

    async def archive() -> None:
        request = versions_pb.ArchiveVersionRequest(model_id=model.id, version="1")
        await hub.stub.ArchiveVersion(request)

    def overtaken(*args: object) -> str | None:
        folder_first = asyncio.run_coroutine_threadsafe(archive(), loop)
        folder_first.result(30)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Scrubber, "_read", overtaken)
    async with scrubbing(hub) as scrub:
        await scrub.scrub()
    assert await status(hub, model.id) == version_pb2.VERSION_STATUS_ARCHIVED
    assert (await report(hub)).quarantined_count == 0


async def test_damage_is_told_although_the_other_tier_is_away(hub: RunningRegistry) -> None:
    """The cold tier may hold a whole copy, so nothing is lost; but nothing is intact either."""
    model, dataset = await hub.model(), await hub.dataset()
    _, version = [await published(hub, model.id, dataset, salt) for salt in "ab"]
    await hub.stub.ArchiveVersion(versions_pb.ArchiveVersionRequest(model_id=model.id, version="1"))
    weights = hub.archive / version.artifact_path / "adapters.safetensors"
    flip(weights)
    away = hub.cold.rename(hub.cold.with_name("away"))
    async with scrubbing(hub) as scrub:
        await scrub.scrub()
    for _ in range(2):
        found = await hub.storage.ReconcileStorage(pb.ReconcileStorageRequest())
        assert [(d.name, d.file) for d in found.damaged] == [("bot:2", weights.name)]
        assert found.quarantined_count == 0
    away.rename(hub.cold)
    found = await hub.storage.ReconcileStorage(pb.ReconcileStorageRequest())
    assert (found.quarantined_count, list(found.damaged)) == (1, [])


def await_failure(hub: RunningRegistry) -> None:
    """Wait up to half a minute."""
    for _ in range(600):
        if hub.sql("SELECT status FROM registry.versions") == [("failed",)]:
            return
        time.sleep(0.05)
    raise AssertionError("nobody found the damage")


async def test_a_serving_registry_finds_the_damage_by_itself(
    hub: RunningRegistry, tmp_path: Path
) -> None:
    model = await hub.model()
    version = await published(hub, model.id, await hub.dataset())
    flip(hub.archive / version.artifact_path / "adapters.safetensors")
    async with registry_process(tmp_path, hub.settings.database_url) as (process, _):
        await asyncio.to_thread(await_failure, hub)
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0, "it ends in the middle of its work"
