"""Imported versions through the stub: published, traced, verified, never taken for a job's."""

import pytest
from mlx_hub.registry.v1 import lineage_pb2, model_event_pb2, publication_pb2, version_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import provenance_service_pb2 as provenance_pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import FailedPrecondition, Invalid
from tests.fixtures.publications import imported, published
from tests.fixtures.registry import RunningRegistry, failure


@pytest.fixture
async def model_id(hub: RunningRegistry) -> int:
    """Register a model."""
    return (await hub.model()).id


async def test_an_import_becomes_the_latest_version(hub: RunningRegistry, model_id: int) -> None:
    version = await hub.stub.PublishVersion(imported(hub, model_id))
    assert (version.version, version.job_id) == (1, 0)
    assert version.origin == version_pb2.VERSION_ORIGIN_IMPORTED
    assert list(version.aliases) == ["latest"]
    lineage = await hub.stub.GetLineage(
        versions_pb.GetLineageRequest(model_id=model_id, version="latest")
    )
    assert not lineage.HasField("training")
    assert not lineage.HasField("dataset")
    assert lineage.imported.format == lineage_pb2.ADAPTER_FORMAT_PEFT
    assert lineage.imported.source_files[0].sha256 == "5" * 64
    history = await hub.stub.GetModelHistory(models_pb.GetModelHistoryRequest(model_id=model_id))
    newest = history.events[0]
    assert newest.type == model_event_pb2.MODEL_EVENT_TYPE_IMPORTED
    assert newest.details["base_pin"] == "operator"
    assert "job_id" not in newest.details
    request = publication_pb2.ResolveModelRequest(model_id=model_id, version="1")
    assert (await hub.stub.ResolveModel(request)).lineage == lineage


async def test_it_verifies_without_a_dataset(hub: RunningRegistry, model_id: int) -> None:
    version = await hub.stub.PublishVersion(imported(hub, model_id))
    ask = provenance_pb.VerifyVersionRequest(model_id=model_id, version="1")
    told = await hub.provenance.VerifyVersion(ask)
    assert told.intact
    assert not any(check.what.startswith("dataset") for check in told.checks)
    damaged = hub.archive / version.artifact_path / "statement.json"
    damaged.chmod(0o644)
    damaged.write_text(damaged.read_text().replace("operator", "source"))
    told = await hub.provenance.VerifyVersion(ask)
    assert {check.what for check in told.checks if not check.ok} == {
        "statement.json",
        "the version's folder",
        "what statement.json says",
    }


async def test_the_same_files_give_the_same_version_while_it_serves(
    hub: RunningRegistry, model_id: int
) -> None:
    first = await hub.stub.PublishVersion(imported(hub, model_id))
    assert await hub.stub.PublishVersion(imported(hub, model_id)) == first
    other = await hub.stub.PublishVersion(imported(hub, model_id, "other"))
    assert other.version == 2
    archive = versions_pb.ArchiveVersionRequest(model_id=model_id, version="1")
    await hub.stub.ArchiveVersion(archive)
    assert (await hub.stub.PublishVersion(imported(hub, model_id))).version == 3


async def test_a_job_s_equal_files_are_another_version(hub: RunningRegistry, model_id: int) -> None:
    trained = await published(hub, model_id, await hub.dataset(), "weights")
    brought = await hub.stub.PublishVersion(imported(hub, model_id, "weights"))
    assert brought.checksum == trained.checksum
    assert (trained.version, brought.version) == (1, 2)


async def test_half_of_each_and_another_base_are_refused(
    hub: RunningRegistry, model_id: int
) -> None:
    both = imported(hub, model_id)
    both.training.job_id = 1
    error = await failure(hub.stub.PublishVersion(both))
    assert isinstance(error, Invalid)
    assert error.metadata["field"] == "training"
    bare = imported(hub, model_id)
    bare.imported.ClearField("imported_at")
    error = await failure(hub.stub.PublishVersion(bare))
    assert error.metadata["field"] == "imported.imported_at"
    elsewhere = imported(hub, model_id)
    elsewhere.base_digest = "0" * 64
    error = await failure(hub.stub.PublishVersion(elsewhere))
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "ADAPTER_BASE_MISMATCH"
    page = versions_pb.ListModelVersionsRequest(model_id=model_id)
    assert not (await hub.stub.ListModelVersions(page)).versions
