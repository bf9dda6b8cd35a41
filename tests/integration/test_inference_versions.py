"""Versions that come, go and move while they are asked, and those with an engine of their own."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import publication_pb2, registry_service_pb2_grpc

from services.chassis.errors import FailedPrecondition
from services.chassis.requests import Context
from services.chassis.server import HubServer
from services.chassis.settings import HubSettings
from services.chassis.status import from_rpc_error
from services.inference.__main__ import Inference
from services.inference.catalogue import Catalogue
from services.inference.domain import Adapter
from services.inference.settings import InferenceSettings
from services.runtime.exchange.fuse import fuse
from services.runtime.folder import inspect_model_folder
from tests.fixtures.scripted_registry import ScriptedRegistry, failure
from tests.fixtures.tiny_adapters import checksum, write_adapter
from tests.fixtures.trained import MakeTrainer, Silent

# One service and its engines serve all tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


# Versions that are there from the start.
ALWAYS = (21, 22)


class Registry(ScriptedRegistry):
    """One with aliases, archived versions, and versions of method full."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.aliases: dict[str, str] = {}
        self.archived: set[str] = set()
        self.full: set[str] = set()

    async def ResolveModel(
        self, request: publication_pb2.ResolveModelRequest, context: Context
    ) -> publication_pb2.ResolvedModel:
        number = self.aliases.get(request.version, request.version)
        if number in self.archived:
            raise FailedPrecondition("VERSION_NOT_READY", "it is archived")
        asked = publication_pb2.ResolveModelRequest(model_id=request.model_id, version=number)
        resolved = await super().ResolveModel(asked, context)
        method = "full" if number in self.full else "lora"
        resolved.lineage.training.parameters["method"] = method
        return resolved


class Served:
    """The service, the registry behind it, and the stub before it."""

    def __init__(
        self, inference: Inference, registry: Registry, channel: grpc.aio.Channel, home: Path
    ) -> None:
        self.inference = inference
        self.registry = registry
        self.stub = pb_grpc.InferenceServiceStub(channel)
        self.home = home

    def publish(self, number: int, seed: int) -> Adapter:
        folder = self.home / f"v{number}"
        adapter = write_adapter(folder, seed, rank=2 + seed, keys=("mlp.down_proj",))
        self.registry.versions[str(number)] = adapter
        return adapter

    async def ask(self, version: str, **fields: Any) -> Any:
        return await self.stub.Generate(ask(version, **fields))


def ask(version: str, prompt: str = "hello", max_tokens: int = 8) -> pb.GenerateRequest:
    # None ends by itself.
    fields: dict[str, Any] = {"max_tokens": max_tokens, "logit_bias": {2: -100}}
    return pb.GenerateRequest(model_id=7, version=version, prompt=prompt, **fields)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    home = tmp_path_factory.mktemp("versions")
    server = HubServer("registry", HubSettings(drain_seconds=0))
    registry = Registry(tiny_model)  # type: ignore[abstract]
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(registry, server.grpc)
    registry.port = await server.start(0)
    settings = InferenceSettings(
        home=home,
        registry_port=registry.port,
        archive_setting=Path("/"),
        max_rows=4,
        adapter_slots=2,
        drain_seconds=0,
    )
    inference = Inference(settings)
    port = await inference.server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        served = Served(inference, registry, channel, home)
        for number in ALWAYS:
            served.publish(number, seed=number)
        yield served
    await inference.server.stop()
    await inference.close()
    await server.stop()


class Stream:
    """A long answer, under way."""

    def __init__(self, served: Served, version: str) -> None:
        self._served = served
        self.events = aiter(served.stub.StreamGenerate(ask(version, max_tokens=400)))
        self.text = ""
        self.completion: Any = None

    async def begun(self) -> "Stream":
        while not self.text:  # a model that is on its way has frames before
            self.text += (await anext(self.events)).delta.text
        return self

    async def end(self) -> None:
        """Read to the end, which isn't made yet."""
        assert self._served.inference.scheduler.running == 1, "the stream is over already"
        async for event in self.events:
            self.text += event.delta.text
            self.completion = event.completion


async def test_an_alias_that_moves_moves_the_next_request_and_no_stream(served: Served) -> None:
    adapters = {str(number): served.registry.versions[str(number)] for number in ALWAYS}
    answers = {number: (await served.ask(number, max_tokens=400)).text for number in adapters}
    for before, after in (("21", "22"), ("22", "21")):  # forth, and back again
        served.registry.aliases["prod"] = before
        stream = await Stream(served, "prod").begun()
        served.registry.aliases["prod"] = after
        moved = await served.ask("prod")
        assert moved.provenance.version == int(after)
        assert moved.provenance.adapter_digest == adapters[after].digest
        assert answers[after].startswith(moved.text)
        await stream.end()
        assert stream.text == answers[before]
        assert stream.completion.provenance.version == int(before)
        assert stream.completion.provenance.adapter_digest == adapters[before].digest


async def test_a_version_that_is_archived_and_deleted_ends_what_it_began(served: Served) -> None:
    adapter = served.publish(23, seed=23)
    answer = (await served.ask("23", max_tokens=400)).text
    served.registry.aliases["old"] = "23"
    stream = await Stream(served, "old").begun()
    served.registry.archived.add("23")
    shutil.rmtree(adapter.path)
    refused = from_rpc_error(await failure(served.ask("old")), "inference")
    assert refused.reason == "VERSION_NOT_READY"
    others = await asyncio.gather(served.ask("base"), served.ask("21"))
    assert [other.provenance.version for other in others] == [0, 21]
    await stream.end()
    assert stream.text == answer
    # Its slot goes to others, and nothing is left to load it from.
    for number in ALWAYS:
        await served.ask(str(number))
    served.registry.archived.clear()
    gone = from_rpc_error(await failure(served.ask("old")), "inference")
    assert gone.reason == "ARTIFACT_CORRUPT"


async def test_more_versions_than_slots_take_turns_while_a_stream_goes_on(served: Served) -> None:
    numbers = [str(number) for number in range(11, 16)]
    for number in numbers:
        served.publish(int(number), seed=int(number))
    stream = await Stream(served, "21").begun()
    alone = [(await served.ask(number)).text for number in numbers]
    together = await asyncio.gather(*(served.ask(number) for number in (*numbers, *numbers)))
    assert [answer.text for answer in together] == alone * 2
    assert len(set(alone)) == len(numbers)
    await stream.end()
    assert stream.text == (await served.ask("21", max_tokens=400)).text


async def test_a_version_of_method_full_answers_as_its_fused_folder_does(
    served: Served, tiny_model: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    # After prepare.
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm import load  # noqa: PLC0415
    from mlx_lm.generate import generate_step  # noqa: PLC0415

    from services.trainer.worker.adapters import export  # noqa: PLC0415

    trainer = make_trainer(method="full", lora_layers=1, learning_rate=0.02, lora_rank=0)
    trainer.run(Silent(), lambda: None)
    export(trainer, tmp_path / "v", inspect_model_folder(tiny_model).digest)
    digest = checksum(tmp_path / "v")
    served.registry.versions["9"] = Adapter(digest, tmp_path / "v")
    served.registry.full.add("9")
    (fused := tmp_path / "fused").mkdir()
    fuse(tiny_model, tmp_path / "v", fused, 0)
    loaded: Any = load(str(fused))
    model, tokenizer = loaded[:2]
    prompt = mx.array(tokenizer.encode("hello", add_special_tokens=False))
    tokens = [int(token) for token, _ in generate_step(prompt, model, max_tokens=8)]
    answer, base = await asyncio.gather(served.ask("9"), served.ask("base"))
    assert answer.text == tokenizer.decode(tokens[: answer.tokens])
    assert answer.text != base.text
    # A full line before the one engine is none before the other.
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.registry.port}") as channel:
        catalogue = Catalogue(channel, Path("/"))
        for version in ("9", "base"):
            await catalogue.resolve(7, version)
        bases = [catalogue.base_of(7, version) for version in ("9", "base")]
    assert [base.digest for base in bases if base] == [digest, served.registry.digest]
    told = answer.provenance
    assert (told.version, told.adapter_digest, told.job_id) == (9, digest, 5)
    assert (told.base_model, told.base_digest) == ("tiny", base.provenance.base_digest)
