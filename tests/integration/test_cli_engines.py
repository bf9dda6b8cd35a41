"""Engines on the command line, and streams that begin while their model still loads."""

from collections.abc import Iterator

import pytest
from mlx_hub.cli.main import app
from mlx_hub.client import AsyncHub, Hub
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent, TextDelta
from mlx_hub.inference.v1.residency_pb2 import Loading, LoadModelRequest, UnloadModelRequest
from typer.testing import CliRunner

from tests.fixtures.scripted_answers import answering
from tests.fixtures.scripted_engines import LOADING
from tests.fixtures.scripted_hub import ScriptedHub

STREAM = [
    GenerateEvent(loading=LOADING),
    GenerateEvent(delta=TextDelta(text="hi")),
    GenerateEvent(completion=Completion(text="hi", tokens=1)),
]


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    with answering() as hub:
        hub.on["StreamGenerate"] = lambda _: [*STREAM]
        yield hub


def run(hub: ScriptedHub, *args: str) -> str:
    result = CliRunner().invoke(app, ["--address", hub.address, *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_engines_are_a_table_with_notes(hub: ScriptedHub) -> None:
    shown = [line.split() for line in run(hub, "engines").splitlines()]
    assert shown[1][:4] == ["base", "ready", "yes", "0"]
    assert "small" in shown[1] and "small" not in shown[2]
    assert shown[2][:3] == ["other", "weights", "50%"]
    assert shown[3][0:2] == ["third", "failed"] and shown[3][-3:] == ["it", "is", "broken"]
    assert " ".join(shown[4]) == "2 GB of 12 GB leased, 10 GB free"
    assert " ".join(shown[5]) == "there is no base model bsae"
    assert " ".join(shown[6]).startswith("request abababababab on base: there for 1 ends")


def test_options_reach_the_hub_and_what_is_not_given_stays_unset(hub: ScriptedHub) -> None:
    run(hub, "load", "m:2", "--no-pin", "--keep-alive", "0")
    assert hub.requests[-1] == LoadModelRequest(
        model_id=1, version="2", pin=False, keep_alive_seconds=0
    )
    run(hub, "load", "1")
    assert hub.requests[-1] == LoadModelRequest(model_id=1)
    run(hub, "unload", "m", "--force")
    assert hub.requests[-1] == UnloadModelRequest(model_id=1, force=True)


async def test_streams_tell_of_loading_and_yield_only_text(hub: ScriptedHub) -> None:
    told: list[Loading] = []
    with Hub(hub.address) as here, here.stream(1, "x") as stream:
        stream.on_loading = told.append
        assert list(stream) == ["hi"]
    async with AsyncHub(hub.address) as there, there.stream(1, "x") as texts:
        texts.on_loading = told.append
        assert [text async for text in texts] == ["hi"]
    assert told == [LOADING, LOADING]
    assert run(hub, "generate", "m", "x") == "hi\n"
