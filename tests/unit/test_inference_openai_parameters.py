"""Every parameter that OpenAI's SDK knows is decided: honoured, or refused by its name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types import completion_create_params as text_params
from openai.types.chat import completion_create_params as chat_params

from services.chassis.errors import Invalid
from services.inference.openai_requests import Asked, read_chat, read_completion

TOOL = {"type": "function", "function": {"name": "f"}}
BOTH: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "logit_bias": {"7": 1},
    "max_tokens": 7,
    "model": "bot:3",
    "n": 2,
    "presence_penalty": -0.5,
    "seed": 3,
    "stop": ["a"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.25,
    "top_p": 0.5,
    "user": "u",
}
CHAT_HONOURED = BOTH | {
    "logprobs": True,
    "max_completion_tokens": 7,
    "messages": [{"role": "user", "content": "ho"}],
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "tool_choice": "none",
    "tools": [TOOL],
    "top_logprobs": 2,
}
CHAT_REFUSED: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "safety_identifier": "u",
    "service_tier": "auto",
    "store": True,
    "verbosity": "low",
    "web_search_options": {},
}
TEXT_HONOURED = BOTH | {"echo": True, "best_of": 1, "logprobs": 2, "prompt": "ho"}
TEXT_REFUSED: dict[str, Any] = {"best_of": 3, "suffix": "x"}
# What a parameter needs beside it.
NEEDS: dict[str, dict[str, Any]] = {
    "stream_options": {"stream": True},
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [TOOL]},
}
# What no request of ours differs by: without it, too, calls may be several and n is 1.
NOTHING_NEW = {"parallel_tool_calls", "best_of"}


def chat(**fields: Any) -> Asked:
    messages = [{"role": "user", "content": "hi"}]
    return read_chat(json.dumps({"model": "bot", "messages": messages, **fields}).encode())


def text(**fields: Any) -> Asked:
    return read_completion(json.dumps({"model": "bot", "prompt": "hi", **fields}).encode())


def parameters(module: Any) -> set[str]:
    streaming = module.CompletionCreateParamsStreaming
    return {*module.CompletionCreateParamsBase.__annotations__, *streaming.__annotations__}


@pytest.mark.parametrize(
    ("module", "honoured", "refused"),
    [
        (chat_params, CHAT_HONOURED, CHAT_REFUSED),
        (text_params, TEXT_HONOURED, TEXT_REFUSED),
    ],
)
def test_every_parameter_of_the_sdk_is_decided(
    module: Any, honoured: dict[str, Any], refused: dict[str, Any]
) -> None:
    assert parameters(module) == honoured.keys() | refused.keys()


def test_every_parameter_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "openai.md").read_text()
    names = CHAT_HONOURED.keys() | CHAT_REFUSED.keys() | TEXT_HONOURED.keys() | TEXT_REFUSED.keys()
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("read", "name", "value"),
    [
        *((chat, name, value) for name, value in CHAT_HONOURED.items()),
        *((text, name, value) for name, value in TEXT_HONOURED.items()),
    ],
)
def test_what_is_honoured_makes_a_difference(
    read: Callable[..., Asked], name: str, value: Any
) -> None:
    needs = NEEDS.get(name, {})
    with_it, without = read(**needs, **{name: value}), read(**needs)
    assert (with_it != without) is (name not in NOTHING_NEW)


@pytest.mark.parametrize(
    ("read", "name", "value"),
    [
        *((chat, name, value) for name, value in CHAT_REFUSED.items()),
        *((text, name, value) for name, value in TEXT_REFUSED.items()),
        (chat, "no_such_parameter", 1),
        (text, "no_such_parameter", 1),
        (chat, "prompt", "x"),
        (text, "messages", []),
        (chat, "tool_choice", {"type": "allowed_tools"}),
    ],
)
def test_what_is_not_is_refused_by_its_name(
    read: Callable[..., Asked], name: str, value: Any
) -> None:
    with pytest.raises(Invalid) as caught:
        read(**{name: value})
    assert caught.value.reason == "UNSUPPORTED_PARAMETER"
    assert [v.field for v in caught.value.violations] == [name]
    assert name in caught.value.message
    read(**{name: None})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["x"] * 9}, "prompt"),
        ({"prompt": ["x"] * 3, "n": 3}, "n"),
        ({"n": 9}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "logprobs"),
        ({"echo": 1}, "echo"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True, "prompt": "x" * 500_000, "n": 3}, "echo"),
        ({"logprobs": 20, "max_tokens": 1000, "n": 4}, "logprobs"),
    ],
)
def test_wrong_values_of_completions_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        text(**given)
    assert [v.field for v in caught.value.violations] == [field]


def test_completions_take_openais_defaults_and_one_request_for_each_prompt() -> None:
    asked = text(prompt=["a", "b"], seed=4, n=2, best_of=2, suffix="")
    assert [r.prompt for r in asked.requests] == ["a", "b"]
    assert {(r.max_tokens, r.temperature, r.seed) for r in asked.requests} == {(16, 1, 4)}
    assert (asked.n, asked.echo, text(logprobs=0).requests[0].logprobs) == (2, False, True)
