"""A hub is backed up while it runs and comes back whole in an empty home, or not at all."""

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from mlx_hub.registry.v1 import provenance_service_pb2 as provenance_pb
from mlx_hub.registry.v1 import provenance_service_pb2_grpc as provenance_grpc
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.stack import store, vault
from services.stack.backup import back_up
from services.stack.errors import StackError
from services.stack.home import Home
from services.stack.restore import _copy, restore
from services.stack.settings import StackSettings
from services.stack.stack import Stack
from services.stack.vault import Vault
from tests.fixtures.publications import END_JOBS, published
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port, registry_process


class Silent:
    """A meter that nobody looks at."""

    copied = 0

    def expect(self, size: int) -> None:
        """Start at nothing."""
        self.copied = 0

    def advance(self, size: int) -> None:
        """Add up."""
        self.copied += size


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder outside of the hub's home that Postgres' account can reach."""
    with tempfile.TemporaryDirectory(prefix="mlx-hub-backup-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def settings_of(hub: RunningRegistry) -> StackSettings:
    return StackSettings(home=hub.settings.home, database_url=hub.settings.database_url)


async def take(hub: RunningRegistry, target: Path, keep: int = 0) -> str:
    return await asyncio.to_thread(back_up, settings_of(hub), target, keep, print, Silent())


def bring(target: Path, source: Path, database_url: str = "") -> StackSettings:
    settings = StackSettings(home=target, database_url=database_url)
    restore(settings, source, "", print, Silent())
    return settings


def objects(place: Path) -> set[Path]:
    return set((place / "objects").glob("??/*"))


async def test_a_hub_comes_back_with_its_versions_and_their_lineage(
    hub: RunningRegistry, place: Path
) -> None:
    model, dataset = (await hub.model()).id, await hub.dataset()
    await published(hub, model, dataset, "cold")
    await hub.stub.ArchiveVersion(versions_pb.ArchiveVersionRequest(model_id=model, version="1"))
    with sqlite3.connect(hub.settings.home / "generations.db") as journal:
        journal.execute("CREATE TABLE answers (id)")
    first, before = await take(hub, place / "safe"), objects(place / "safe")
    hot = await published(hub, model, dataset, "hot")
    second = await take(hub, place / "safe")
    added = objects(place / "safe") - before
    fresh = {f.name for f in (hub.archive / hot.artifact_path).iterdir()} - {"adapter_config.json"}
    assert len(added) == len(fresh) + 1, "only the new version's files and a dump"
    asked = versions_pb.GetLineageRequest(model_id=model, version="2")
    lineage = await hub.stub.GetLineage(asked)

    assert await take(hub, place / "safe", keep=1) > second > first
    assert len(Vault(place / "safe").names()) == 1
    settings = await asyncio.to_thread(bring, place / "home", place / "safe")
    assert (settings.home / "generations.db").is_file()
    assert not (settings.home / "run" / "restoring").exists()
    with Stack(settings, print).databases() as (url, _):
        port = free_port()
        address = f"127.0.0.1:{port}"
        async with (
            registry_process(settings.home, url, MLX_HUB_REGISTRY_PORT=str(port)) as (_, stub),
            grpc.aio.insecure_channel(address) as channel,
        ):
            assert await stub.GetLineage(asked) == lineage
            verifying = provenance_grpc.ProvenanceServiceStub(channel)
            for version in ("1", "2"):
                request = provenance_pb.VerifyVersionRequest(model_id=model, version=version)
                assert (await verifying.VerifyVersion(request)).intact
    kept = settings.storage_archive_path / hot.artifact_path / "adapters.safetensors"
    source = hub.archive / hot.artifact_path / "adapters.safetensors"
    assert kept.stat().st_mtime_ns == source.stat().st_mtime_ns, "so that no load hashes it again"
    with pytest.raises(StackError, match="not empty, and a restore never mixes two hubs"):
        bring(place / "home", place / "safe")


async def test_what_is_deleted_meanwhile_is_not_missing(
    hub: RunningRegistry, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = (await hub.model()).id, await hub.dataset()
    version = await published(hub, model, dataset)
    weights = hub.archive / version.artifact_path / "adapters.safetensors"
    dump = store.dump
    dumps: list[Path] = []

    def dump_then_delete(url: str, target: Path, *options: str) -> None:
        dump(url, target, *options)
        if not dumps:
            hub.sql(END_JOBS)
            hub.sql("UPDATE registry.models SET deleted_at = now()")
            weights.unlink()
        dumps.append(target)

    monkeypatch.setattr(store, "dump", dump_then_delete)
    name = await take(hub, place / "safe")
    assert len(dumps) == 2
    stored = [entry.path for entry in Vault(place / "safe").read(name).files]
    assert not [path for path in stored if path.startswith("versions/")]


async def test_what_is_lost_or_damaged_is_told_and_no_backup_is_made(
    hub: RunningRegistry, place: Path
) -> None:
    version = await published(hub, (await hub.model()).id, await hub.dataset())
    weights = hub.archive / version.artifact_path / "adapters.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[::-1])
    with pytest.raises(StackError, match=r"adapters.safetensors is damaged.*mlx-hub doctor"):
        await take(hub, place / "safe")
    weights.unlink()
    with pytest.raises(StackError, match=r"is on record and missing.*doctor --reconcile"):
        await take(hub, place / "safe")
    with pytest.raises(StackError, match="lies within the hub's own folders"):
        await take(hub, hub.settings.home / "backups")
    with pytest.raises(StackError, match="has no backup; it has none"):
        bring(place / "home", place / "safe")
    assert not Vault(place / "safe").names()


def newer(path: Path) -> str:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "revision": "9999"}))
    return "of revision 9999"


def gone(path: Path) -> str:
    next(iter(objects(path.parent))).unlink()
    return "are missing or cut off"


def garbled(path: Path) -> str:
    path.write_text("{}")
    return "is no manifest of a backup"


@pytest.mark.parametrize("spoil", [newer, gone, garbled])
async def test_a_restore_that_can_not_end_well_writes_nothing(
    spoil: Callable[[Path], str], hub: RunningRegistry, place: Path
) -> None:
    name = await take(hub, place / "safe")
    said = spoil(place / "safe" / f"{name}.json")
    with pytest.raises(StackError, match=said):
        bring(place / "home", place / "safe")
    assert not (place / "home").exists()


async def test_a_damaged_file_ends_a_restore_and_nothing_starts_on_the_rest(
    hub: RunningRegistry, place: Path, empty_database_url: str
) -> None:
    name = await take(hub, place / "safe")
    with pytest.raises(StackError, match="DATABASE_URL is not empty"):
        bring(place / "home", place / "safe", hub.settings.database_url)
    manifest = Vault(place / "safe").read(name)
    entry = next(e for e in manifest.files if e.path.endswith("model.safetensors"))
    Vault(place / "safe").place(entry.sha256).write_bytes(b"\0" * entry.size)
    with pytest.raises(StackError, match="is damaged in the backup"):
        await asyncio.to_thread(bring, place / "home", place / "safe", empty_database_url)
    with pytest.raises(StackError, match="did not come to its end"), Home(place / "home").claim():
        raise AssertionError("claimed")


def test_two_backups_wait_for_each_other_and_a_full_disk_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vault(place).opened():
        with pytest.raises(StackError, match="Another backup writes"), Vault(place).opened():
            raise AssertionError("opened twice")
        with pytest.raises(StackError, match="has 0 MiB free"):
            usage = shutil.disk_usage(place)._replace(free=0)
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
            vault.check_room(place / "new", 2**40, "backup")


def test_a_path_that_leaves_its_folder_is_refused(place: Path) -> None:
    entry = vault.Entry("archive", "../x", 1, "0" * 64, 0, 0o644)
    with pytest.raises(StackError, match="leaves its folder"):
        _copy(Vault(place), replace(entry, path="a/../../x"), place / "archive", Silent())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody:secret@127.0.0.1:9/none", "does not do it"),
        ("", "is no hub's, or was never migrated"),
    ],
)
def test_a_database_that_is_no_hub_s_is_told(
    url: str, said: str, place: Path, empty_database_url: str
) -> None:
    settings = StackSettings(home=place / "home", database_url=url or empty_database_url)
    with pytest.raises(StackError, match=said) as caught:
        back_up(settings, place / "safe", 0, print, Silent())
    assert "secret" not in str(caught.value)


def test_where_no_hub_is_nothing_is_backed_up(place: Path) -> None:
    settings = StackSettings(home=place / "home", database_url="")
    with pytest.raises(StackError, match=r"There is no hub in .*check MLX_HUB_HOME"):
        back_up(settings, place / "safe", 0, print, Silent())
