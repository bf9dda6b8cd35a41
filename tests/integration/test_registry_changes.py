"""Models change and go: what a mask names, what stands in the way, what a deletion leaves."""

import asyncio
import os
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from mlx_hub.registry.v1 import model_event_pb2, model_pb2, publication_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import FailedPrecondition, Invalid, NotFound
from services.registry.store.models import ModelStore
from services.registry.store.outbox import Outbox
from services.registry.store.session import sessions
from tests.fixtures.publications import END_JOBS, JOB, published, staged
from tests.fixtures.registry import RunningRegistry, failure

LEASE = timedelta(seconds=60)


def update(
    hub: RunningRegistry, model_id: int, mask: str = "", **fields: object
) -> Awaitable[model_pb2.Model]:
    request = models_pb.UpdateModelRequest(model_id=model_id, **fields)  # type: ignore[arg-type]
    if mask:
        request.update_mask.CopyFrom(FieldMask(paths=mask.split(",")))
    return hub.stub.UpdateModel(request)


def delete(hub: RunningRegistry, model_id: int, *, force: bool = False) -> Awaitable[object]:
    return hub.stub.DeleteModel(models_pb.DeleteModelRequest(model_id=model_id, force=force))


async def events(hub: RunningRegistry, model_id: int) -> list[model_event_pb2.ModelEvent]:
    request = models_pb.GetModelHistoryRequest(model_id=model_id)
    return list((await hub.stub.GetModelHistory(request)).events)


async def test_what_is_given_changes_and_the_rest_stays(hub: RunningRegistry) -> None:
    made = await hub.model(description="old", tags={"team": "x"})
    changed = await update(hub, made.id, description="new")
    assert (changed.description, dict(changed.tags)) == ("new", {"team": "x"})
    assert changed.updated_at.ToNanoseconds() > made.updated_at.ToNanoseconds()
    assert await hub.stub.GetModel(pb.GetModelRequest(model_id=made.id)) == changed
    changed = await update(hub, made.id, tags={"tier": "gold"})
    assert (changed.description, dict(changed.tags)) == ("new", {"tier": "gold"})
    assert (await update(hub, made.id, description="")).description == "", "given, though empty"


async def test_a_mask_names_what_changes(hub: RunningRegistry) -> None:
    made = await hub.model(description="old", tags={"team": "x"})
    changed = await update(hub, made.id, "description,tags", description="new")
    assert (changed.description, dict(changed.tags)) == ("new", {}), "named, not given: emptied"
    again = await update(hub, made.id, "tags,description,tags", description="new")
    assert again == changed, "what is so already is no change"
    [event, _] = await events(hub, made.id)
    assert event.type == model_event_pb2.MODEL_EVENT_TYPE_UPDATED
    assert (event.version, dict(event.details)) == (0, {"fields": "description,tags"})


@pytest.mark.parametrize(
    ("mask", "fields", "field"),
    [
        ("name", {}, "name"),
        ("id", {"description": "x"}, "id"),
        ("tags.team", {"tags": {"team": "x"}}, "tags.team"),
        ("*", {"description": "x"}, "*"),
        ("tags", {"description": "x"}, "description"),
        ("", {}, "update_mask"),
        ("", {"tags": {}}, "update_mask"),
        ("", {"description": "x" * 2001}, "description"),
        ("", {"tags": {"k": "v" * 251}}, 'tags["k"]'),
    ],
)
async def test_what_can_not_change_is_named(
    hub: RunningRegistry, mask: str, fields: dict[str, object], field: str
) -> None:
    made = await hub.model()
    error = await failure(update(hub, made.id, mask, **fields))
    assert isinstance(error, Invalid)
    assert (error.reason, error.metadata) == ("INVALID_FIELD", {"field": field})
    assert await hub.stub.GetModel(pb.GetModelRequest(model_id=made.id)) == made


async def test_mlflow_hears_of_a_change_even_one_during_a_delivery(hub: RunningRegistry) -> None:
    rows = sessions(hub.registry.engine)
    outbox = Outbox(rows, ModelStore(rows, mirrored=True))
    made = await hub.model()
    stale = await outbox.claim(LEASE)
    assert stale is not None
    await update(hub, made.id, description="new")
    await outbox.confirm(stale, "7")
    fresh = await outbox.claim(LEASE)
    assert fresh is not None
    assert (fresh.model.description, fresh.model.mlflow_experiment_id) == ("new", "7")
    await outbox.confirm(fresh, "7")
    hub.sql("UPDATE registry.outbox SET next_attempt_at = now()")
    assert await outbox.claim(LEASE) is None


async def test_a_deleted_model_is_unknown_to_every_call(hub: RunningRegistry) -> None:
    made, dataset = await hub.model(), await hub.dataset()
    late = await staged(hub, made.id, dataset)
    await published(hub, made.id, dataset)
    hub.sql(END_JOBS)
    await delete(hub, made.id, force=True)
    of: Any = {"model_id": made.id}
    calls: list[Awaitable[object]] = [
        hub.stub.GetModel(pb.GetModelRequest(**of)),
        update(hub, made.id, description="x"),
        delete(hub, made.id),
        hub.stub.GetModelHistory(models_pb.GetModelHistoryRequest(**of)),
        hub.stub.ListModelVersions(versions_pb.ListModelVersionsRequest(**of)),
        hub.stub.GetModelVersion(versions_pb.GetModelVersionRequest(**of, version="1")),
        hub.stub.GetLineage(versions_pb.GetLineageRequest(**of, version="1")),
        hub.stub.PromoteVersion(versions_pb.PromoteVersionRequest(**of, version="1")),
        hub.stub.RollbackAlias(versions_pb.RollbackAliasRequest(**of)),
        hub.stub.DeleteAlias(versions_pb.DeleteAliasRequest(**of, alias="champion")),
        hub.stub.ArchiveVersion(versions_pb.ArchiveVersionRequest(**of, version="1")),
        hub.stub.RestoreVersion(versions_pb.RestoreVersionRequest(**of, version="1")),
        hub.stub.ResolveModel(publication_pb2.ResolveModelRequest(**of)),
        hub.stub.ResolveModel(publication_pb2.ResolveModelRequest(**of, version="base")),
        hub.stub.PublishVersion(late),
    ]
    for call in calls:
        error = await failure(call)
        assert isinstance(error, NotFound)
        assert (error.reason, error.metadata) == ("MODEL_NOT_FOUND", {"model_id": str(made.id)})
    assert not (await hub.stub.ListModels(pb.ListModelsRequest())).models


async def test_a_deletion_frees_the_name_and_not_the_request_id(hub: RunningRegistry) -> None:
    first = await hub.model(request_id="once")
    await delete(hub, first.id)
    second = await hub.model(request_id="twice")
    assert (second.name, second.id != first.id) == ("bot", True)
    again = pb.CreateModelRequest(name="bot", base_model="tiny", request_id="once")
    assert (await failure(hub.stub.CreateModel(again))).reason == "MODEL_NOT_FOUND"
    await delete(hub, second.id)
    assert (await hub.model()).name == "bot", "more than one deleted model may have had the name"


async def test_versions_in_service_stand_in_the_way_unless_forced(hub: RunningRegistry) -> None:
    made, dataset = await hub.model(), await hub.dataset()
    await published(hub, made.id, dataset)
    hub.sql(END_JOBS)
    error = await failure(delete(hub, made.id))
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata) == (
        "MODEL_HAS_VERSIONS",
        {"model_id": str(made.id), "versions": "1"},
    )
    await hub.stub.ArchiveVersion(
        versions_pb.ArchiveVersionRequest(model_id=made.id, version="latest")
    )
    await delete(hub, made.id)


async def test_an_unfinished_job_stands_in_the_way_of_force_too(hub: RunningRegistry) -> None:
    made, dataset = await hub.model(), await hub.dataset()
    hub.sql(JOB, made.id, dataset)
    for force in (False, True):
        error = await failure(delete(hub, made.id, force=force))
        assert isinstance(error, FailedPrecondition)
        assert (error.reason, error.metadata) == ("MODEL_HAS_JOBS", {"model_id": str(made.id)})
    hub.sql(END_JOBS)
    await delete(hub, made.id)
    assert hub.sql("SELECT model_id FROM trainer.jobs") == [(made.id,)], "history keeps its job"


async def test_mlflow_is_not_told_of_a_deleted_model(hub: RunningRegistry) -> None:
    rows = sessions(hub.registry.engine)
    outbox = Outbox(rows, ModelStore(rows, mirrored=True))
    gone, kept = await hub.model("gone"), await hub.model("kept")
    claimed = await outbox.claim(LEASE)
    assert claimed is not None
    await delete(hub, gone.id)
    await outbox.confirm(claimed, "7")  # it was under way
    hub.sql("UPDATE registry.outbox SET delivered_at = NULL, next_attempt_at = now()")
    following = await outbox.claim(LEASE)
    assert following is not None
    assert following.model.id == kept.id
    assert await outbox.claim(LEASE) is None


async def test_the_next_start_removes_the_files_of_deleted_models(hub: RunningRegistry) -> None:
    gone, kept, dataset = await hub.model("gone"), await hub.model("kept"), await hub.dataset()
    versions = [await published(hub, model.id, dataset) for model in (gone, kept)]
    folders = [hub.archive / version.artifact_path for version in versions]
    hub.sql(END_JOBS)
    await delete(hub, gone.id, force=True)
    assert folders[0].is_dir(), "until then they stay"
    for folder in folders:
        os.utime(folder, (0, 0))
    await hub.registry.storage.reconciler.run()
    assert [folder.is_dir() for folder in folders] == [False, True]
    status = hub.sql("SELECT DISTINCT status FROM registry.versions")
    assert status == [("ready",)], "files of a deleted model are no damage"


async def test_a_job_and_a_deletion_never_both_succeed(hub: RunningRegistry) -> None:
    dataset = await hub.dataset()
    for n in range(10):
        made = await hub.model(f"m{n}")
        order = asyncio.to_thread(hub.sql, JOB, made.id, dataset)
        queued, gone = await asyncio.gather(order, delete(hub, made.id), return_exceptions=True)
        assert isinstance(queued, BaseException) is not isinstance(gone, BaseException), (
            queued,
            gone,
        )
