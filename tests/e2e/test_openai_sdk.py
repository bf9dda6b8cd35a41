"""The unmodified `openai` package against the stack: chats, models, errors, and leaving early."""

import asyncio
import json
from typing import Any, Literal

import pytest
from openai import (
    APIError,
    AsyncOpenAI,
    BadRequestError,
    NotFoundError,
    OpenAI,
)

from tests.e2e.rest import call, eventually
from tests.fixtures.openai_served import Served, Verdict

ASK: Any = [{"role": "user", "content": "What is the capital of France?"}]
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Rom", "Bern"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": CITY}}
    for name in ("weather", "time")
]


def asynchronous(served: Served) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=served.base_url, api_key="none", max_retries=0)


def test_models_are_listed_and_retrieved(openai_client: OpenAI) -> None:
    listed = {model.id: model for model in openai_client.models.list()}
    assert {"sdk", "caller"} <= set(listed)
    assert listed["sdk"].owned_by == "mlx-hub"


def test_a_chat_is_the_same_whole_and_streamed_and_mlx_hub_knows_why(
    openai_client: OpenAI, openai_served: Served
) -> None:
    asked: Any = {"model": "sdk", "messages": ASK, "max_tokens": 8, "seed": 5, "temperature": 0.7}
    whole = openai_client.chat.completions.create(**asked)
    [choice] = whole.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert whole.usage
    assert (whole.usage.completion_tokens, whole.model) == (8, "sdk")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 8
    stream = openai_client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == choice.message.content
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 8
    for answer in (whole, chunks[-1]):
        why = openai_served.stack.mlx_hub("why", answer.id, "--json")
        assert why.returncode == 0, why.stderr
        assert json.loads(why.stdout)["generation_id"] == answer.id


def test_likely_tokens_and_stops_are_told(openai_client: OpenAI) -> None:
    asked: Any = {"model": "sdk", "messages": ASK, "max_tokens": 4, "temperature": 0}
    plain = openai_client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    likely = plain.choices[0].logprobs
    assert likely
    assert likely.content
    assert len(likely.content) == 4
    assert [len(each.top_logprobs) for each in likely.content] == [2] * 4
    assert all(each.logprob <= 0 for each in likely.content)
    text = plain.choices[0].message.content or ""
    stop = text[len(text) // 2 :]
    ended = openai_client.chat.completions.create(**asked, stop=[stop]).choices[0]
    assert (ended.finish_reason, ended.message.content) == ("stop", text[: text.index(stop)])


def test_a_pydantic_model_is_parsed(openai_client: OpenAI) -> None:
    parsed = openai_client.chat.completions.parse(
        model="sdk", messages=ASK, max_tokens=48, temperature=0, response_format=Verdict
    )
    assert isinstance(parsed.choices[0].message.parsed, Verdict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "time"}}])
def test_tools_are_called_whole_and_streamed(openai_client: OpenAI, choice: Any) -> None:
    asked: Any = {"model": "caller", "messages": ASK, "max_tokens": 120, "temperature": 0}
    whole = openai_client.chat.completions.create(**asked, tools=TOOLS, tool_choice=choice).choices[
        0
    ]
    assert whole.finish_reason == "tool_calls"
    [called] = whole.message.tool_calls or []
    assert called.type == "function"
    assert called.function.name in ({"weather", "time"} if choice == "required" else {"time"})
    assert json.loads(called.function.arguments)["city"] in ("Rom", "Bern")
    with openai_client.chat.completions.stream(**asked, tools=TOOLS, tool_choice=choice) as stream:
        final = stream.get_final_completion().choices[0]
    [again] = final.message.tool_calls or []
    assert (again.function.name, again.function.arguments) == (
        called.function.name,
        called.function.arguments,
    )
    turns = [*ASK, whole.message.model_dump(exclude_none=True)]
    turns.append({"role": "tool", "tool_call_id": called.id, "content": "noon"})
    after = openai_client.chat.completions.create(**{**asked, "messages": turns, "max_tokens": 4})
    assert after.choices[0].finish_reason == "length"


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_tools_need_not_be_called(openai_client: OpenAI, choice: Literal["auto", "none"]) -> None:
    answered = openai_client.chat.completions.create(
        model="caller", messages=ASK, max_tokens=4, temperature=0, tools=TOOLS, tool_choice=choice
    ).choices[0]
    assert (answered.finish_reason, answered.message.tool_calls) == ("length", None)


async def test_the_async_client_answers_side_by_side(openai_served: Served) -> None:
    async with asynchronous(openai_served) as client:
        asked: Any = {"model": "sdk", "messages": ASK, "max_tokens": 4, "temperature": 0}

        async def streamed() -> str:
            stream = await client.chat.completions.create(**asked, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream])

        whole, text = await asyncio.gather(client.chat.completions.create(**asked), streamed())
        assert whole.choices[0].message.content == text
        bare: Any = {"model": "sdk", "prompt": "One, two,", "max_tokens": 4, "temperature": 0}
        pieces = await client.completions.create(**bare, stream=True)
        text = "".join([piece.choices[0].text async for piece in pieces])
        assert (await client.completions.create(**bare)).choices[0].text == text
        assert "sdk" in [model.id async for model in client.models.list()]


NOT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}
REFUSED: list[tuple[dict[str, Any], type[APIError], str, str]] = [
    ({"temperature": 3}, BadRequestError, "temperature", "invalid_field"),
    ({"max_completion_tokens": 0}, BadRequestError, "max_completion_tokens", "invalid_field"),
    ({"response_format": NOT}, BadRequestError, "response_format", "constraint_refused"),
    ({"store": True}, BadRequestError, "store", "unsupported_parameter"),
    ({"model": "nobody"}, NotFoundError, "model", "model_not_found"),
    ({"tools": TOOLS}, BadRequestError, "tools", "tools_unsupported"),
]


@pytest.mark.parametrize(("given", "kind", "param", "code"), REFUSED)
def test_refusals_are_the_sdks_own_errors(
    openai_client: OpenAI, given: dict[str, Any], kind: type[APIError], param: str, code: str
) -> None:
    with pytest.raises(kind) as caught:
        openai_client.chat.completions.create(**{"model": "sdk", "messages": ASK, **given})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert getattr(caught.value, "request_id", "")


def test_who_leaves_a_stream_frees_its_row(openai_client: OpenAI, openai_served: Served) -> None:
    asked: Any = {"model": "caller", "messages": ASK, "max_tokens": 1900, "temperature": 0}
    with openai_client.chat.completions.create(**asked, stream=True) as stream:
        first = next(iter(stream))
        assert openai_served.in_service() == 1
    assert eventually(lambda: openai_served.in_service() == 0, timeout=10)
    traced = call(f"{openai_served.stack.url}/inference/generations/{first.id}").json
    assert traced["outcome"] == "GENERATION_OUTCOME_CANCELLED"
