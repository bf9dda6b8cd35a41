"""Versions through the stub: published once, named, traced, verified, quarantined."""

import asyncio
import errno
import json
import os
import shutil
from collections.abc import Awaitable
from pathlib import Path

import pytest
from mlx_hub.registry.v1 import model_event_pb2, publication_pb2, version_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import DataLoss, Exhausted, FailedPrecondition, Invalid, NotFound
from services.registry import files
from tests.fixtures.publications import Staged, published, staged
from tests.fixtures.registry import RunningRegistry, failure

type Resolved = publication_pb2.ResolvedModel
type Made = tuple[int, int]


@pytest.fixture
async def made(hub: RunningRegistry) -> tuple[int, int]:
    """Register a model and a dataset."""
    return (await hub.model()).id, await hub.dataset()


def resolve(hub: RunningRegistry, model_id: int, version: str = "") -> Awaitable[Resolved]:
    request = publication_pb2.ResolveModelRequest(model_id=model_id, version=version)
    return hub.stub.ResolveModel(request)


async def test_a_publication_becomes_the_latest_version(hub: RunningRegistry, made: Made) -> None:
    first, second = await published(hub, *made, "a"), await published(hub, *made, "b")
    assert (first.version, second.version) == (1, 2)
    assert first.status == version_pb2.VERSION_STATUS_READY
    assert list(first.aliases) == ["latest"], "as it was answered then"
    listed = await hub.stub.ListModelVersions(
        versions_pb.ListModelVersionsRequest(model_id=made[0])
    )
    assert [(v.version, list(v.aliases)) for v in listed.versions] == [(2, ["latest"]), (1, [])]
    for name in ("2", "latest"):
        request = versions_pb.GetModelVersionRequest(model_id=made[0], version=name)
        assert await hub.stub.GetModelVersion(request) == second
    assert dict(second.metrics) == {"loss": 0.5, "val_loss": 0.75}
    model = await hub.stub.GetModel(pb.GetModelRequest(model_id=made[0]))
    assert model.updated_at.ToNanoseconds() > model.created_at.ToNanoseconds()


@pytest.mark.parametrize("name", ["3", "99999999999999", "champion", "base"])
async def test_unknown_versions_are_named(hub: RunningRegistry, made: Made, name: str) -> None:
    await published(hub, *made)
    request = versions_pb.GetModelVersionRequest(model_id=made[0], version=name)
    error = await failure(hub.stub.GetModelVersion(request))
    assert isinstance(error, NotFound)
    assert (error.reason, error.metadata["version"]) == ("VERSION_NOT_FOUND", name)


async def test_files_lie_beside_their_manifest(hub: RunningRegistry, made: Made) -> None:
    request = await staged(hub, *made)
    version = await hub.stub.PublishVersion(request)
    folder = hub.archive / version.artifact_path
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in request.files:
        staged_file = hub.settings.storage_active_path / request.staged_path / file.name
        assert (folder / file.name).read_bytes() == staged_file.read_bytes()
    assert manifest["checksum"] == version.checksum
    assert manifest["base_digest"] == request.base_digest
    assert manifest["dataset_digest"] == request.dataset_digest
    training = request.training
    assert (manifest["job_id"], manifest["attempt"]) == (training.job_id, 1)
    assert (manifest["seed"], manifest["lock_digest"]) == (3, training.lock_digest)
    assert manifest["code_commit"] == training.code_commit
    assert {f["name"]: f["sha256"] for f in manifest["files"]} == {
        f.name: f.sha256 for f in request.files
    }
    assert manifest["lineage"]["training"]["parameters"] == dict(training.parameters)
    assert [p.name for p in (hub.archive / "versions").iterdir()] == [folder.name], "no leftovers"


async def test_lineage_leads_to_the_data_and_the_recipe(hub: RunningRegistry, made: Made) -> None:
    request = await staged(hub, *made)
    version = await hub.stub.PublishVersion(request)
    lineage = await hub.stub.GetLineage(
        versions_pb.GetLineageRequest(model_id=made[0], version="latest")
    )
    assert (lineage.model_name, lineage.version) == ("bot", 1)
    assert lineage.adapter_digest == version.checksum
    assert list(lineage.files) == list(request.files)
    assert (lineage.base_model.name, lineage.base_model.digest) == ("tiny", hub.base_digest)
    assert (lineage.base_model.source, lineage.base_model.source_revision) == ("folder", "")
    assert (lineage.dataset.name, lineage.dataset.digest) == ("data", request.dataset_digest)
    assert (lineage.dataset.train_rows, lineage.dataset.valid_rows) == (1, 1)
    assert lineage.training == request.training
    assert lineage.created_at == version.created_at


async def test_the_same_weights_twice_keep_a_manifest_each(
    hub: RunningRegistry, made: Made
) -> None:
    first, second = await published(hub, *made), await published(hub, *made)
    assert first.checksum == second.checksum
    assert first.artifact_path != second.artifact_path


async def test_a_job_publishes_once(hub: RunningRegistry, made: Made) -> None:
    request = await staged(hub, *made)
    versions = await asyncio.gather(*(hub.stub.PublishVersion(request) for _ in range(6)))
    assert {version.id for version in versions} == {versions[0].id}
    shutil.rmtree(hub.settings.storage_active_path / "jobs")
    assert (await hub.stub.PublishVersion(request)).id == versions[0].id
    assert hub.sql("SELECT count(*) FROM registry.model_events WHERE type = 'trained'") == [(1,)]
    request.model_id = (await hub.model("other")).id
    request.staged_path = (await staged(hub, *made)).staged_path
    error = await failure(hub.stub.PublishVersion(request))
    assert (error.reason, error.metadata["field"]) == ("INVALID_FIELD", "training.job_id")


async def test_numbers_have_no_gap_under_concurrency(hub: RunningRegistry, made: Made) -> None:
    requests = [await staged(hub, *made, str(n)) for n in range(6)]
    versions = await asyncio.gather(*(hub.stub.PublishVersion(r) for r in requests))
    assert sorted(version.version for version in versions) == [1, 2, 3, 4, 5, 6]
    latest = versions_pb.GetModelVersionRequest(model_id=made[0], version="latest")
    assert (await hub.stub.GetModelVersion(latest)).version == 6


def _link_out(folder: Path, request: Staged) -> None:
    target = folder / "adapters.safetensors"
    target.rename(folder.parents[3] / "moved")
    target.symlink_to(folder.parents[3] / "moved")


def _link_folder(folder: Path, request: Staged) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda f, r: r.training.ClearField("job_id"), "training.job_id"),
        (lambda f, r: setattr(r.training, "job_id", 999), "training.job_id"),
        (lambda f, r: r.files.pop(), "files"),
        (lambda f, r: setattr(r.files[0], "name", "../x"), "files"),
        (lambda f, r: r.metrics.update(loss=float("nan")), "metrics"),
        (lambda f, r: setattr(r, "staged_path", "../archive"), "staged_path"),
        (lambda f, r: setattr(r, "staged_path", "/etc"), "staged_path"),
        (lambda f, r: (f / "adapters.safetensors").unlink(), "staged_path"),
        (_link_out, "staged_path"),
        (_link_folder, "staged_path"),
    ],
)
async def test_a_bad_publication_is_refused(
    hub: RunningRegistry, made: Made, change: object, field: str
) -> None:
    request = await staged(hub, *made)
    assert callable(change)
    change(hub.settings.storage_active_path / request.staged_path, request)
    error = await failure(hub.stub.PublishVersion(request))
    assert isinstance(error, Invalid)
    assert (error.reason, error.metadata["field"]) == ("INVALID_FIELD", field)
    assert hub.sql("SELECT count(*) FROM registry.versions") == [(0,)]


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (lambda f, r: setattr(r.files[0], "sha256", "0" * 64), "adapters.safetensors"),
        (lambda f, r: (f / "adapters.safetensors").write_text("x"), "adapters.safetensors"),
        (lambda f, r: setattr(r.files[0], "size_bytes", 1.5), "adapters.safetensors"),
        (lambda f, r: setattr(r, "base_digest", "0" * 64), "base model 'tiny'"),
        (lambda f, r: setattr(r, "dataset_digest", "0" * 64), "dataset 'data'"),
    ],
)
async def test_what_was_not_hashed_alike_is_not_published(
    hub: RunningRegistry, made: Made, change: object, file: str
) -> None:
    request = await staged(hub, *made)
    assert callable(change)
    change(hub.settings.storage_active_path / request.staged_path, request)
    error = await failure(hub.stub.PublishVersion(request))
    assert isinstance(error, DataLoss)
    assert (error.reason, error.metadata) == ("ARTIFACT_CORRUPT", {"file": file})
    assert list((hub.archive / "versions").iterdir()) == []


async def test_publishing_names_what_is_unknown(hub: RunningRegistry, made: Made) -> None:
    request = await staged(hub, *made)
    request.dataset_id = 99
    assert (await failure(hub.stub.PublishVersion(request))).reason == "DATASET_NOT_FOUND"
    request.model_id = 99
    assert (await failure(hub.stub.PublishVersion(request))).reason == "MODEL_NOT_FOUND"


async def test_a_full_disk_publishes_nothing(
    hub: RunningRegistry, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    request = await staged(hub, *made)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        error = await failure(hub.stub.PublishVersion(request))
    assert isinstance(error, Exhausted)
    assert error.reason == "DISK_FULL"
    assert list((hub.archive / "versions").iterdir()) == []
    assert (await hub.stub.PublishVersion(request)).version == 1


async def test_resolving_names_verified_files(hub: RunningRegistry, made: Made) -> None:
    alone = await resolve(hub, made[0])
    assert not alone.HasField("version")
    assert (hub.archive / alone.base_model.artifact_path / "model.safetensors").is_file()
    version = await published(hub, *made)
    for name in ("", "1", "latest"):
        resolved = await resolve(hub, made[0], name)
        assert resolved.version == version
        assert resolved.lineage.adapter_digest == version.checksum
        assert resolved.lineage.version == 1
        assert resolved.base_model == alone.base_model
    assert not (await resolve(hub, made[0], "base")).HasField("version")
    error = await failure(resolve(hub, made[0], "7"))
    assert error.reason == "VERSION_NOT_FOUND"
    assert (await failure(resolve(hub, 99))).reason == "MODEL_NOT_FOUND"


async def test_an_archived_version_is_not_served(hub: RunningRegistry, made: Made) -> None:
    await published(hub, *made)
    hub.sql("UPDATE registry.versions SET status = 'archived'")
    error = await failure(resolve(hub, made[0]))
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata) == (
        "VERSION_NOT_READY",
        {"version": "1", "status": "archived"},
    )


@pytest.mark.parametrize("name", ["adapters.safetensors", "manifest.json", "model.safetensors"])
async def test_a_changed_file_is_found_on_load(hub: RunningRegistry, made: Made, name: str) -> None:
    version = await published(hub, *made)
    resolved = await resolve(hub, made[0])
    base = name == "model.safetensors"
    folder = resolved.base_model.artifact_path if base else version.artifact_path
    path = hub.archive / folder / name
    content, times = path.read_bytes(), path.stat()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    error = await failure(resolve(hub, made[0]))
    assert isinstance(error, DataLoss)
    assert (error.reason, error.metadata) == ("ARTIFACT_CORRUPT", {"file": name})
    path.write_bytes(content)
    assert (await resolve(hub, made[0])).version == version, "a restored file is good again"
    os.utime(path, (times.st_atime + 50, times.st_mtime + 50))
    assert (await resolve(hub, made[0])).version == version, "a new time alone is no damage"
    path.unlink()
    assert (await failure(resolve(hub, made[0]))).metadata == {"file": name}


async def test_history_tells_of_versions_as_they_are_now(hub: RunningRegistry, made: Made) -> None:
    for salt in "abc":
        await published(hub, *made, salt)
    hub.sql("UPDATE registry.versions SET status = 'archived' WHERE version = 1")
    events: list[model_event_pb2.ModelEvent] = []
    request = models_pb.GetModelHistoryRequest(model_id=made[0], page_size=2)
    while True:
        page = await hub.stub.GetModelHistory(request)
        events += page.events
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [event.version for event in events] == [3, 3, 2, 2, 1, 1, 0]
    assert events[0].type == model_event_pb2.MODEL_EVENT_TYPE_EVALUATED
    assert events[1].type == model_event_pb2.MODEL_EVENT_TYPE_TRAINED
    assert events[1].details["checksum"] == events[1].model_version.checksum
    assert events[4].model_version.status == version_pb2.VERSION_STATUS_ARCHIVED
    assert sorted(e.id for e in events) == [e.id for e in reversed(events)]


async def test_version_pages_go_on_where_they_ended(hub: RunningRegistry, made: Made) -> None:
    for salt in "abc":
        await published(hub, *made, salt)
    request = versions_pb.ListModelVersionsRequest(model_id=made[0], page_size=2)
    first = await hub.stub.ListModelVersions(request)
    await published(hub, *made, "later")
    request.page_token = first.next_page_token
    second = await hub.stub.ListModelVersions(request)
    assert [v.version for v in (*first.versions, *second.versions)] == [3, 2, 1]
    assert not second.next_page_token
