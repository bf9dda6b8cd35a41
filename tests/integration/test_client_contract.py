"""Each rpc of the contract is a verb of both hubs, seen by calling every verb there is."""

import asyncio
import io
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import pytest
from mlx_hub.client import AsyncHub, Hub, HubError, Unimplemented

from gateway.contract import methods
from tests.fixtures.scripted_hub import ScriptedHub, serving

BETWEEN_SERVICES = "said between the services of a node, never by a client"
BY_OPENAI = "said by the clients of OpenAI's API, over HTTP"
SECOND = "said by `download` once it knows what there is; test_client_downloads.py sees it"
#: The rpcs, or all those of a service, without a verb, and why.
WITHOUT: Mapping[str, str] = {
    "ResolveModel": BETWEEN_SERVICES,
    "PublishVersion": BETWEEN_SERVICES,
    "TrainingRecordService": BETWEEN_SERVICES,
    "OpenAIService": BY_OPENAI,
    "GetVersionFile": SECOND,
    "GetDatasetFile": SECOND,
    "GetExportFile": SECOND,
}
#: What is not about the hub's answers.
MANNERS = {"close", "within"}
#: Values for parameters that a number would not do for.
GIVEN: Mapping[str, Any] = {
    "file": io.BytesIO(b"{}\n"),
    "split": "all",
    "direction": "higher",
    "messages": (),
}


def groups(hub: Hub | AsyncHub) -> dict[str, Any]:
    """A hub and its nouns, by name."""
    own = type(hub).__module__
    nouns = {name: noun for name, noun in vars(hub).items() if type(noun).__module__ == own}
    return {"": hub} | nouns


def verbs(hub: Hub | AsyncHub) -> dict[str, Callable[..., Any]]:
    """Every verb, by its full name."""
    return {
        f"{noun}.{verb}".removeprefix("."): getattr(group, verb)
        for noun, group in groups(hub).items()
        for verb in dir(type(group))
        if not verb.startswith("_") and verb not in MANNERS
    }


def call(verb: Callable[..., Any]) -> Any:
    """Call a verb with something for each parameter that it must have."""
    parameters = [p for p in signature(verb).parameters.values() if p.kind is not p.VAR_KEYWORD]
    must = [p for p in parameters if p.default is Parameter.empty]
    text = {p.name for p in must if p.annotation is str}
    values = {p.name: GIVEN.get(p.name, "x" if p.name in text else 1) for p in must}
    positional = [values.pop(p.name) for p in must if p.kind is not p.KEYWORD_ONLY]
    return verb(*positional, **values)


def blocking(verb: Callable[..., Any]) -> None:
    answer = call(verb)
    if isinstance(answer, Iterator):
        next(answer)


async def awaited(verb: Callable[..., Any]) -> None:
    answer = call(verb)
    await (anext(answer) if hasattr(answer, "__anext__") else answer)


@pytest.fixture
def scripted_hub() -> Iterator[ScriptedHub]:
    with serving() as hub:
        yield hub


def test_every_rpc_has_a_verb_or_a_reason_for_none(scripted_hub: ScriptedHub) -> None:
    with Hub(scripted_hub.address) as hub:
        for name, verb in verbs(hub).items():
            before = len(scripted_hub.rpcs)
            with pytest.raises(Unimplemented):
                blocking(verb)
            assert len(scripted_hub.rpcs) == before + 1, name
    without = {
        rpc.name for rpc in methods() if {rpc.name, rpc.containing_service.name} & set(WITHOUT)
    }
    assert set(scripted_hub.rpcs) == {rpc.name for rpc in methods()} - without


async def test_the_async_hub_has_the_same_verbs_for_the_same_rpcs(
    scripted_hub: ScriptedHub,
) -> None:
    seen: dict[str, str] = {}
    async with AsyncHub(scripted_hub.address) as hub_async:
        for name, verb in verbs(hub_async).items():
            with pytest.raises(Unimplemented):
                await awaited(verb)
            seen[name] = scripted_hub.rpcs[-1]
    with Hub(scripted_hub.address) as hub:
        assert verbs(hub).keys() == seen.keys()
        for name, verb in verbs(hub).items():
            with pytest.raises(HubError):
                await asyncio.to_thread(blocking, verb)
            assert scripted_hub.rpcs[-1] == seen[name]
            assert signature(verb).parameters == signature(verbs(hub_async)[name]).parameters
    assert all(said.get("user-agent", "").startswith("grpc") for said in scripted_hub.metadata)
