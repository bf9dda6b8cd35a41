"""Models through the stub: made once, listed in order, refused with a reason."""

import asyncio
from collections.abc import Awaitable

import pytest
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import model_event_pb2, model_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import AlreadyExists, Invalid, NotFound
from tests.fixtures.registry import RunningRegistry, failure


async def test_a_model_comes_back_as_it_was_registered(hub: RunningRegistry) -> None:
    tags = {"team": "support", "tier": "gold"}
    call = hub.stub.CreateModel(
        pb.CreateModelRequest(name="bot", base_model="tiny", description="Helps.", tags=tags)
    )
    model = await call
    headers = {str(key): str(value) for key, value in await call.initial_metadata()}
    assert (headers["x-http-code"], headers["location"]) == ("201", f"/models/{model.id}")
    assert (model.name, model.base_model, model.description) == ("bot", "tiny", "Helps.")
    assert model.task_type == "text-generation"
    assert dict(model.tags) == tags
    assert model.mlflow_sync == model_pb2.MLFLOW_SYNC_DISABLED
    assert model.created_at == model.updated_at
    assert await hub.stub.GetModel(pb.GetModelRequest(model_id=model.id)) == model


async def test_a_name_is_taken_once(hub: RunningRegistry) -> None:
    await hub.model()
    error = await failure(
        hub.stub.CreateModel(pb.CreateModelRequest(name="bot", base_model="tiny"))
    )
    assert isinstance(error, AlreadyExists)
    assert (error.reason, error.metadata) == ("NAME_TAKEN", {"name": "bot"})


async def test_the_base_model_must_be_imported(hub: RunningRegistry) -> None:
    request = pb.CreateModelRequest(name="bot", base_model="other")
    error = await failure(hub.stub.CreateModel(request))
    assert isinstance(error, NotFound)
    assert (error.reason, error.metadata) == ("BASE_MODEL_NOT_FOUND", {"base_model": "other"})


async def test_unknown_models_are_named(hub: RunningRegistry) -> None:
    calls: list[Awaitable[object]] = [
        hub.stub.GetModel(pb.GetModelRequest(model_id=7)),
        hub.stub.GetModelHistory(models_pb.GetModelHistoryRequest(model_id=7)),
        hub.stub.ListModelVersions(versions_pb.ListModelVersionsRequest(model_id=7)),
        hub.stub.GetModelVersion(versions_pb.GetModelVersionRequest(model_id=7, version="1")),
        hub.stub.GetLineage(versions_pb.GetLineageRequest(model_id=7, version="1")),
    ]
    for call in calls:
        error = await failure(call)
        assert (error.reason, error.metadata) == ("MODEL_NOT_FOUND", {"model_id": "7"})


async def test_a_request_id_makes_one_model(hub: RunningRegistry) -> None:
    request = pb.CreateModelRequest(name="bot", base_model="tiny", request_id="once")
    made = await asyncio.gather(*(hub.stub.CreateModel(request) for _ in range(8)))
    assert {model.id for model in made} == {made[0].id}
    header = (("idempotency-key", "once"),)
    bare = pb.CreateModelRequest(name="bot", base_model="tiny")
    assert await hub.stub.CreateModel(bare, metadata=header) == made[0]
    other = pb.CreateModelRequest(name="bot2", base_model="tiny", request_id="once")
    error = await failure(hub.stub.CreateModel(other))
    assert isinstance(error, AlreadyExists)
    assert (error.reason, error.metadata) == ("REQUEST_ID_REUSED", {"request_id": "once"})


async def test_concurrent_creates_of_a_name_leave_one(hub: RunningRegistry) -> None:
    request = pb.CreateModelRequest(name="bot", base_model="tiny")
    results = await asyncio.gather(
        *(hub.stub.CreateModel(request) for _ in range(8)), return_exceptions=True
    )
    assert len([r for r in results if isinstance(r, model_pb2.Model)]) == 1
    assert hub.sql("SELECT count(*) FROM registry.models") == [(1,)]
    assert hub.sql("SELECT count(*) FROM registry.outbox") == [(1,)]


async def test_pages_are_stable_while_rows_come_and_go(hub: RunningRegistry) -> None:
    ids = [(await hub.model(f"m{n}")).id for n in range(6)]
    first = await hub.stub.ListModels(pb.ListModelsRequest(page_size=2))
    hub.sql("DELETE FROM registry.outbox WHERE model_id = %s", ids[1])
    hub.sql("DELETE FROM registry.model_events WHERE model_id = %s", ids[1])
    hub.sql("DELETE FROM registry.models WHERE id = %s", ids[1])  # the cursor's own row
    ids.append((await hub.model("later")).id)
    seen = [model.id for model in first.models]
    token = first.next_page_token
    while token:
        request = pb.ListModelsRequest(page_size=2, page_token=token)
        page = await hub.stub.ListModels(request)
        seen += [model.id for model in page.models]
        token = page.next_page_token
    assert seen == ids


async def test_filters_narrow_and_mean_what_they_say(hub: RunningRegistry) -> None:
    await hub.model("a_b", tags={"team": "x", "tier": ""})
    await hub.model("axb", tags={"team": "y"})
    await hub.model("b")

    async def names(**fields: str) -> list[str]:
        request = pb.ListModelsRequest(**fields)  # type: ignore[arg-type]
        return [model.name for model in (await hub.stub.ListModels(request)).models]

    assert await names() == ["a_b", "axb", "b"]
    assert await names(name_prefix="a_") == ["a_b"]
    assert await names(name_prefix="a%") == []
    assert await names(tag="team") == ["a_b", "axb"]
    assert await names(tag="team=y") == ["axb"]
    assert await names(tag="tier=") == ["a_b"]
    assert await names(task_type="text-generation") == ["a_b", "axb", "b"]
    assert await names(task_type="other") == []


async def test_a_token_belongs_to_its_list_and_filter(hub: RunningRegistry) -> None:
    for n in range(3):
        await hub.model(f"m{n}")
    page = await hub.stub.ListModels(pb.ListModelsRequest(page_size=1, name_prefix="m"))
    token = page.next_page_token
    wrong: list[Awaitable[object]] = [
        hub.stub.ListModels(pb.ListModelsRequest(page_token=token)),
        hub.stub.ListModels(pb.ListModelsRequest(page_token="bm90IG91cnM")),
        hub.datasets.ListDatasets(
            datasets_pb.ListDatasetsRequest(page_token=token, name_prefix="m")
        ),
        hub.stub.ListBaseModels(pb.ListBaseModelsRequest(page_token=token)),
        hub.stub.GetModelHistory(models_pb.GetModelHistoryRequest(model_id=1, page_token=token)),
        hub.stub.ListModelVersions(
            versions_pb.ListModelVersionsRequest(model_id=1, page_token=token)
        ),
    ]
    for call in wrong:
        error = await failure(call)
        assert isinstance(error, Invalid)
        assert error.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"name": ""}, "name"),
        ({"task_type": "vision"}, "task_type"),
        ({"description": "x" * 2001}, "description"),
        ({"description": "a\0b"}, "description"),
        ({"tags": {"k": "a\0b"}}, "tags"),
        ({"request_id": "x" * 101}, "request_id"),
    ],
)
async def test_bad_fields_are_named(
    hub: RunningRegistry, fields: dict[str, object], field: str
) -> None:
    body = {"name": "bot", "base_model": "tiny", **fields}
    request = pb.CreateModelRequest(**body)  # type: ignore[arg-type]
    error = await failure(hub.stub.CreateModel(request))
    assert isinstance(error, Invalid)
    assert [violation.field for violation in error.violations] == [field]


async def test_history_begins_with_the_registration(hub: RunningRegistry) -> None:
    model = await hub.model()
    request = models_pb.GetModelHistoryRequest(model_id=model.id)
    [event] = (await hub.stub.GetModelHistory(request)).events
    assert event.type == model_event_pb2.MODEL_EVENT_TYPE_CREATED
    assert dict(event.details) == {"base_model": "tiny"}
    assert not event.HasField("model_version")


async def test_base_models_are_listed_in_pages(hub: RunningRegistry) -> None:
    hub.sql(
        "INSERT INTO registry.base_models (name, digest, model_type, parameters, size_bytes,"
        " context_length, artifact_path, files) SELECT 'b' || n, digest, model_type, parameters,"
        " size_bytes, context_length, artifact_path, files"
        " FROM registry.base_models, generate_series(1, 2) n"
    )
    first = await hub.stub.ListBaseModels(pb.ListBaseModelsRequest(page_size=2))
    request = pb.ListBaseModelsRequest(page_size=2, page_token=first.next_page_token)
    second = await hub.stub.ListBaseModels(request)
    assert [base.name for base in (*first.base_models, *second.base_models)] == ["tiny", "b1", "b2"]
    assert not second.next_page_token
    assert first.base_models[0].digest == hub.base_digest
    assert first.base_models[0].model_type == "llama"
    assert first.base_models[0].context_length == 2048
    assert (first.base_models[0].source, first.base_models[0].quantization) == ("folder", "")
