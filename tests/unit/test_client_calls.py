import inspect
import json
from typing import Any
from uuid import UUID

import pytest
from mlx_hub.client import AsyncHub, Hub, Invalid, aio, sync
from mlx_hub.client.calls import (
    datasets,
    engines,
    inference,
    provenance,
    quality,
    registry,
    storage,
    system,
    trainer,
)
from mlx_hub.client.contract import Call, Pages, build
from mlx_hub.inference.v1 import inference_service_pb2
from mlx_hub.inference.v1.generation_pb2 import ChatMessage, GenerateRequest
from mlx_hub.inference.v1.tools_pb2 import Choice, Tool, ToolCall, ToolChoice
from mlx_hub.registry.v1 import (
    dataset_service_pb2,
    provenance_service_pb2,
    quality_service_pb2,
    registry_service_pb2,
    storage_service_pb2,
)
from mlx_hub.registry.v1.model_pb2 import Model
from mlx_hub.registry.v1.registry_service_pb2 import ListModelsRequest, ListModelsResponse
from mlx_hub.system.v1 import system_service_pb2
from mlx_hub.trainer.v1 import trainer_service_pb2

# Rpcs between the services of a node, which no client calls.
INTERNAL = {"ResolveModel", "PublishVersion"}

CALLS = [
    registry.create_model("m", "b"),
    registry.get_model(1),
    registry.update_model(1, description="x"),
    registry.delete_model(1),
    registry.list_models().call,
    registry.model_history(1).call,
    registry.list_versions(1).call,
    registry.get_version(1),
    registry.get_lineage(1, 2),
    provenance.verify_version(1, 2),
    provenance.get_statement(1, 2),
    registry.promote_version(1, 2),
    registry.roll_back_alias(1),
    registry.delete_alias(1, "champion"),
    registry.archive_version(1, 2),
    registry.restore_version(1, 2),
    registry.list_base_models().call,
    quality.record_evaluation(1, 2, "bleu", 3.5, dataset_id=1, split="all"),
    quality.get_evaluation(1, 4),
    quality.list_evaluations(1).call,
    quality.quality_trend(1),
    quality.version_samples(1),
    quality.set_promotion_gate(1, "bleu", direction="higher", dataset_id=1, split="all"),
    quality.get_promotion_gate(1),
    quality.delete_promotion_gate(1),
    datasets.create_dataset("d", "d.jsonl"),
    datasets.upload_dataset("d", "d.jsonl"),
    datasets.get_dataset(1),
    datasets.report_dataset(1, 2),
    datasets.delete_dataset(1),
    datasets.list_datasets().call,
    storage.get_report(),
    storage.reconcile(),
    trainer.create_job(1, 2),
    trainer.forecast_job(1, 2),
    trainer.get_job(1),
    trainer.list_jobs().call,
    trainer.cancel_job(1),
    trainer.retry_job(1),
    trainer.replay_job(1),
    trainer.watch_job(1),
    trainer.list_logs(1).call,
    trainer.tail_logs(1),
    inference.generate(1, "hi"),
    inference.streamed(inference.generate(1, "hi")),
    inference.get_generation("g"),
    inference.list_generations().call,
    inference.cache_stats(),
    inference.clear_cache(1),
    engines.list_engines(),
    engines.load_model(1, pin=True),
    engines.unload_model(1),
    system.get_health(),
    system.get_metrics(),
]


def test_every_public_rpc_has_a_call_with_the_contracts_own_types() -> None:
    files = (
        registry_service_pb2,
        dataset_service_pb2,
        quality_service_pb2,
        provenance_service_pb2,
        storage_service_pb2,
        trainer_service_pb2,
        inference_service_pb2,
        system_service_pb2,
    )
    rpcs = {
        rpc.full_name
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for rpc in service.methods
        if rpc.name not in INTERNAL
    }
    assert {call.method.full_name for call in CALLS} == rpcs
    for call in CALLS:
        assert call.method.input_type is call.request.DESCRIPTOR
        assert call.method.output_type is call.reply.DESCRIPTOR


def test_only_what_the_contract_calls_idempotent_is_repeatable() -> None:
    once = {call.method.name for call in CALLS if not call.repeatable}
    assert once == {
        "Generate",
        "StreamGenerate",
        "LoadModel",
        "UnloadModel",
        "DeleteModel",
        "DeleteAlias",
        "DeletePromotionGate",
        "DeleteDataset",
        "RollbackAlias",
        "RetryTrainingJob",
    }


@pytest.mark.parametrize(
    "call",
    [
        registry.create_model("m", "b"),
        quality.record_evaluation(1, "base", "bleu", 3.5, dataset_id=1, split="all"),
        datasets.create_dataset("d", "p"),
        datasets.upload_dataset("d", "p"),
        trainer.create_job(1, 2),
    ],
)
def test_creating_carries_a_request_id_so_that_a_repeat_is_safe(call: Call[Model]) -> None:
    assert UUID(getattr(call.request, "request_id"))  # noqa: B009 - one field of four messages


def test_what_is_not_given_stays_unset_and_takes_the_hubs_default() -> None:
    request = trainer.create_job(1, 2, epochs=3, request_id="r").request
    assert {field.name for field, _ in request.ListFields()} == {
        "model_id",
        "dataset_id",
        "epochs",
        "request_id",
    }


def test_an_update_names_what_is_given_and_nothing_else() -> None:
    def masked(call: Call[Model]) -> list[str]:
        return list(getattr(call.request, "update_mask").paths)  # noqa: B009

    assert masked(registry.update_model(1)) == []
    assert masked(registry.update_model(1, description="")) == ["description"]
    assert masked(registry.update_model(1, description="x", tags={})) == ["description", "tags"]


def test_generation_passes_messages_and_numbers_versions_as_text() -> None:
    messages = [{"role": "user", "content": "hi"}]
    call = inference.generate(1, messages=messages, version=3, stop=["\n"], timeout=9)
    request = call.request
    assert call.deadline(30) == inference.streamed(call).deadline(30) == 9
    assert inference.generate(1, "x").deadline(30) is None
    assert [datasets.report_dataset(1, 2).deadline(seconds) for seconds in (30, 999)] == [300, 999]
    expected = GenerateRequest(
        model_id=1, messages=[ChatMessage(role="user", content="hi")], version="3", stop=["\n"]
    )
    assert request == expected


def test_schemas_may_be_mappings_and_choices_are_named() -> None:
    schema = {"type": "object"}
    request = inference.generate(1, "x", response_schema=schema).request
    assert request == GenerateRequest(model_id=1, prompt="x", response_schema=json.dumps(schema))
    assert inference.generate(1, "x", regex="a").request == GenerateRequest(
        model_id=1, prompt="x", regex="a"
    )
    chosen = GenerateRequest(model_id=1, prompt="x", choice=Choice(options=["a", "b"]))
    assert inference.generate(1, "x", choice=["a", "b"]).request == chosen
    call = {"id": "c", "name": "f", "arguments": "{}"}
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "c"},
    ]
    tools: list[dict[str, Any]] = [
        {"name": "f", "parameters": schema, "strict": True},
        {"name": "g"},
    ]
    asked = inference.generate(1, messages=messages, tools=tools, tool_choice="required").request
    assert asked == GenerateRequest(
        model_id=1,
        messages=[
            ChatMessage(role="assistant", tool_calls=[ToolCall(**call)]),
            ChatMessage(role="tool", content="4", tool_call_id="c"),
        ],
        tools=[Tool(name="f", parameters=json.dumps(schema), strict=True), Tool(name="g")],
        tool_choice=ToolChoice.TOOL_CHOICE_REQUIRED,
    )
    maybe: Any = "maybe"
    with pytest.raises(Invalid, match="TOOL_CHOICE_MAYBE"):
        build(inference.generate, 1, "x", tool_choice=maybe)


def test_pages_go_on_until_the_token_is_empty() -> None:
    first: Pages[ListModelsResponse, Model] = registry.list_models(name_prefix="a")
    rest = first.after(ListModelsResponse(next_page_token="t"))
    assert rest is not None
    expected = ListModelsRequest(name_prefix="a", page_token="t")
    assert rest.call.request == expected
    assert rest.after(ListModelsResponse()) is None
    assert first.call.request == ListModelsRequest(name_prefix="a")


def test_values_that_cannot_be_sent_are_invalid() -> None:
    with pytest.raises(Invalid, match="out of range"):
        build(registry.get_model, 2**40)
    with pytest.raises(Invalid, match="JOB_STATUS_SLEEPING"):
        build(trainer.list_jobs, status="sleeping")
    with pytest.raises(Invalid, match="EVALUATION_SPLIT_SOME"):
        build(quality.record_evaluation, 1, 2, "bleu", 3.5, dataset_id=1, split="some")
    with pytest.raises(Invalid, match="METRIC_DIRECTION_UP_IS_BETTER"):
        build(quality.set_promotion_gate, 1, "b", direction="up", dataset_id=1, split="all")
    with pytest.raises(Invalid, match="rolle"):
        build(inference.generate, 1, messages=[{"rolle": "user"}])


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [
        (sync.Models, aio.AsyncModels),
        (sync.Quality, aio.AsyncQuality),
        (sync.Datasets, aio.AsyncDatasets),
        (sync.Storage, aio.AsyncStorage),
        (sync.Jobs, aio.AsyncJobs),
        (sync.Generations, aio.AsyncGenerations),
        (Hub, AsyncHub),
    ],
)
def test_the_twins_have_the_same_verbs_with_the_same_parameters(
    blocking: type, asynchronous: type
) -> None:
    verbs = {name for name in dir(blocking) if not name.startswith("_")}
    assert verbs == {name for name in dir(asynchronous) if not name.startswith("_")}
    for verb in verbs:
        one, other = getattr(blocking, verb), getattr(asynchronous, verb)
        assert inspect.signature(one).parameters == inspect.signature(other).parameters
