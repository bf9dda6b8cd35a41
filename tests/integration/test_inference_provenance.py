"""What answers, their records and the list of engines tell of settings and draft models."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import generation_record_pb2 as record_pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.inference.v1 import residency_pb2

from services.chassis.status import from_rpc_error
from tests.fixtures.scripted_registry import ScriptedRegistry, failure
from tests.fixtures.served import serving
from tests.fixtures.tiny_model import VOCABULARY

type Stub = pb_grpc.InferenceServiceStub
ENGINES = residency_pb2.ListEnginesRequest()


async def why(stub: Stub, completion: completion_pb.Completion) -> record_pb.GenerationRecord:
    return await stub.GetGeneration(
        record_pb.GetGenerationRequest(generation_id=completion.generation_id)
    )


async def test_an_answer_tells_how_many_tokens_it_attended_to(
    scripted_registry: ScriptedRegistry, tmp_path: Path
) -> None:
    asked = pb.GenerateRequest(model_id=7, prompt="a text of more than a few tokens " * 4)
    texts = []
    for window in (0, 16):
        async with serving(scripted_registry, tmp_path, max_kv_size=window) as (_, stub):
            told = await stub.Generate(asked)
            assert told.provenance.max_kv_size == window
            assert (await why(stub, told)).provenance == told.provenance
            texts.append(told.text)
    assert texts[0] != texts[1], "it is told because it changes tokens"


def small(tiny_model: Path, folder: Path, file: str = "README.md", **fields: Any) -> Path:
    """Copy the tiny model as another base model, with other fields in one of its files."""
    shutil.copytree(tiny_model, folder)
    stored = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
    (folder / file).write_text(json.dumps({**stored, **fields}))
    return folder


async def pairs(stub: Stub) -> list[tuple[str, str, bool]]:
    """Give of each pair the base model, what speaks against it, and whether it refuses engines."""
    told = (await stub.ListEngines(ENGINES)).draft_pairs
    return [(pair.base_model, pair.reason, pair.refused) for pair in told]


async def test_a_draft_model_is_told_where_it_lies_and_where_it_guessed(
    scripted_registry: ScriptedRegistry, tiny_model: Path, tmp_path: Path
) -> None:
    scripted_registry.others["small"] = small(tiny_model, tmp_path / "small")
    async with serving(scripted_registry, tmp_path, draft_models={"tiny": "small"}) as (_, stub):
        asked: dict[str, Any] = {"model_id": 7, "prompt": "abc", "max_tokens": 60}
        plain = await stub.Generate(pb.GenerateRequest(drafting=False, **asked))
        drafted = await stub.Generate(pb.GenerateRequest(drafting=True, **asked))
        assert drafted.text == plain.text
        assert (plain.provenance.draft_model, plain.drafted_tokens) == ("", 0)
        assert (drafted.provenance.draft_model, drafted.drafted_tokens > 0) == ("small", True)
        record = await why(stub, drafted)
        assert record.provenance == drafted.provenance
        assert (record.drafted_tokens, record.accepted_tokens) == (
            drafted.drafted_tokens,
            drafted.accepted_tokens,
        )
        [engine] = (await stub.ListEngines(ENGINES)).engines
        assert (engine.base_model, engine.draft_model) == ("tiny", "small")
        assert await pairs(stub) == [("tiny", "", False)]


async def test_a_name_that_no_base_model_has_is_seen_until_it_is_imported(
    scripted_registry: ScriptedRegistry,
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    misspelt = {"tiny": "smal", "tyni": "tiny"}
    async with serving(scripted_registry, tmp_path, draft_models=misspelt) as (_, stub):
        while len(caplog.messages) < 2:  # noqa: ASYNC110 (another side's state)
            await asyncio.sleep(0.01)
        for message, name in zip(caplog.messages, ("smal", "tyni"), strict=True):
            assert "MLX_HUB_DRAFT_MODELS says" in message
            assert f"there is no base model {name}; import it, or name another" in message
        assert await pairs(stub) == [
            ("tiny", caplog.messages[0], True),
            ("tyni", caplog.messages[1], False),
        ]
        load = residency_pb2.LoadModelRequest(model_id=7)
        error = from_rpc_error(await failure(stub.LoadModel(load)), "inference")
        assert (error.reason, error.message) == ("ENGINE_START_FAILED", caplog.messages[0])
        scripted_registry.others["smal"] = small(tiny_model, tmp_path / "small")
        assert (await pairs(stub))[0] == ("tiny", "", False)
        assert (await stub.LoadModel(load)).draft_model == "smal"


async def test_a_draft_model_of_other_tokens_is_refused_by_its_name(
    scripted_registry: ScriptedRegistry, tiny_model: Path, tmp_path: Path
) -> None:
    stored = json.loads((tiny_model / "tokenizer.json").read_text())["model"]
    swapped = {**stored["vocab"], VOCABULARY[9]: 10, VOCABULARY[10]: 9}
    changed = {"model": {**stored, "vocab": swapped}}
    scripted_registry.others["small"] = small(
        tiny_model, tmp_path / "small", "tokenizer.json", **changed
    )
    async with serving(scripted_registry, tmp_path, draft_models={"tiny": "small"}) as (_, stub):
        load = residency_pb2.LoadModelRequest(model_id=7)
        error = from_rpc_error(await failure(stub.LoadModel(load)), "inference")
        assert error.reason == "ENGINE_START_FAILED"
        assert "its draft model small can't be used: it has other tokens" in error.message
        assert "name another base model in MLX_HUB_DRAFT_MODELS" in error.message
        [engine] = (await stub.ListEngines(ENGINES)).engines
        assert engine.state == residency_pb2.ENGINE_STATE_FAILED
        assert engine.reason == error.message


async def test_a_draft_model_that_fails_is_named_no_more(
    scripted_registry: ScriptedRegistry, tiny_model: Path, tmp_path: Path
) -> None:
    broken = small(tiny_model, tmp_path / "small", "config.json", rope_theta="none")
    scripted_registry.others["small"] = broken
    async with serving(scripted_registry, tmp_path, draft_models={"tiny": "small"}) as (_, stub):
        answered = await stub.Generate(pb.GenerateRequest(model_id=7, prompt="abc", max_tokens=8))
        assert (answered.tokens, answered.provenance.draft_model) == (8, "")
        [engine] = (await stub.ListEngines(ENGINES)).engines
        assert (engine.draft_model, engine.state) == ("", residency_pb2.ENGINE_STATE_READY)
        assert engine.reason.startswith("its draft model failed")
