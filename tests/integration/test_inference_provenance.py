"""What an answer and its record tell of the settings and models that it came from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import generation_record_pb2 as record_pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc

from services.inference.__main__ import Inference
from services.inference.settings import InferenceSettings
from tests.fixtures.scripted_registry import ScriptedRegistry

type Stub = pb_grpc.InferenceServiceStub


@asynccontextmanager
async def serving(registry: ScriptedRegistry, home: Path, **settings: Any) -> AsyncIterator[Stub]:
    here: dict[str, Any] = {"home": home, "registry_port": registry.port}
    here["archive_setting"] = Path("/")
    inference = Inference(InferenceSettings(drain_seconds=0, **here, **settings))
    port = await inference.server.start(0)
    await inference.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.InferenceServiceStub(channel)
    await inference.server.stop()
    await inference.close()


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
        async with serving(scripted_registry, tmp_path, max_kv_size=window) as stub:
            told = await stub.Generate(asked)
            assert told.provenance.max_kv_size == window
            assert (await why(stub, told)).provenance == told.provenance
            texts.append(told.text)
    assert texts[0] != texts[1], "it is told because it changes tokens"
