"""The SDK's completions, several choices, a full line, and LangChain's client, on the stack."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, NotFoundError, OpenAI, RateLimitError
from pydantic import SecretStr

from tests.e2e.rest import eventually
from tests.fixtures.openai_served import Served, Verdict

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openai.md"
ASK: Any = [{"role": "user", "content": "Name a city."}]
STORY: Any = [{"role": "user", "content": "Tell me a long story about the sea."}]
COUNT: dict[str, Any] = {"model": "sdk", "prompt": "One, two, three,", "max_tokens": 6}


def test_the_documented_example_does_what_it_says(openai_served: Served) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    here = example.replace("127.0.0.1:8080", f"127.0.0.1:{openai_served.stack.port}")
    done = subprocess.run(
        [sys.executable, "-"], input=here, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.split("mlx-hub why chatcmpl-")
    assert told[0].startswith("0 ")
    assert "\n1 " in told[0]
    assert len(told[1].split("\n", 1)[1]) > 8


@pytest.mark.parametrize("name", ["sdk", "sdk:base"])
def test_a_model_is_retrieved(openai_client: OpenAI, name: str) -> None:
    found = openai_client.models.retrieve(name)
    assert (found.id, found.owned_by) == (name, "mlx-hub")
    assert found.created == openai_client.models.retrieve("sdk").created > 0


@pytest.mark.parametrize("name", ["nobody", "sdk:9"])
def test_a_model_that_is_not_there_is_not_found(openai_client: OpenAI, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        openai_client.models.retrieve(name)
    assert caught.value.code == ("model_not_found" if name == "nobody" else "version_not_found")


def test_a_completion_is_the_same_whole_and_streamed(openai_client: OpenAI) -> None:
    asked = COUNT | {"temperature": 0}
    whole = openai_client.completions.create(**asked, logprobs=2)
    [choice] = whole.choices
    assert (choice.finish_reason, whole.id[:5]) == ("length", "cmpl-")
    assert choice.logprobs
    assert choice.logprobs.tokens
    assert choice.logprobs.text_offset
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0
    stream = openai_client.completions.create(
        **asked, echo=True, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert text == asked["prompt"] + choice.text
    assert whole.usage
    assert chunks[-1].usage
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (
        chunks[-1].usage.prompt_tokens,
        6,
    )


def test_choices_have_seeds_of_their_own_and_share_their_prompts(
    openai_client: OpenAI, openai_served: Served
) -> None:
    asked = COUNT | {"seed": 11, "temperature": 1.5}
    whole = openai_client.completions.create(**asked | {"prompt": [COUNT["prompt"], "Red,"]}, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    alone = [
        openai_client.completions.create(**asked | {"seed": 11 + n}).choices[0].text for n in (0, 1)
    ]
    assert alone[0] != alone[1]
    assert [choice.text for choice in whole.choices[:2]] == alone
    assert whole.usage
    assert whole.usage.completion_tokens == 24
    why = openai_served.stack.mlx_hub("why", f"{whole.id}-3")
    assert why.returncode == 0, why.stderr


def test_a_chats_choices_are_streamed_side_by_side(openai_client: OpenAI) -> None:
    # Long enough that pieces which a busy machine put together still take turns.
    asked: Any = {"model": "sdk", "messages": STORY, "max_tokens": 32, "seed": 3, "n": 3}
    whole = openai_client.chat.completions.create(**asked)
    texts = {choice.index: choice.message.content for choice in whole.choices}
    told = dict.fromkeys(texts, "")
    order: list[int] = []
    for chunk in openai_client.chat.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        told[choice.index] += choice.delta.content or ""
        order.append(choice.index)
    assert told == texts
    assert len(set(texts)) == 3
    assert order != sorted(order), "one after the other"
    assert whole.usage
    assert whole.usage.completion_tokens == 3 * 32


async def test_a_full_line_is_a_rate_limit_and_who_leaves_frees_all_rows(
    openai_served: Served,
) -> None:
    prompts = [f"{n}" for n in range(8)]
    asked: Any = {"model": "caller", "prompt": prompts, "max_tokens": 1900, "temperature": 0}
    client = AsyncOpenAI(base_url=openai_served.base_url, api_key="none", max_retries=0)
    async with client:
        calls = [asyncio.ensure_future(client.completions.create(**asked)) for _ in range(9)]
        for _ in range(300):
            if await asyncio.to_thread(openai_served.in_service) >= 64:
                break
            await asyncio.sleep(0.05)
        with pytest.raises(RateLimitError) as caught:
            await client.completions.create(**asked)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert caught.value.code == "queue_full"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert eventually(lambda: openai_served.in_service() == 0, timeout=20)


def test_langchain_invokes_streams_and_parses(openai_served: Served) -> None:
    chat = ChatOpenAI(
        base_url=openai_served.base_url,
        api_key=SecretStr("none"),
        model="sdk",
        temperature=0,
        max_completion_tokens=48,
        max_retries=0,
    )
    short = chat.bind(max_completion_tokens=6)
    whole = short.invoke("Name a city.")
    assert whole.text
    assert "".join(piece.text for piece in short.stream("Name a city.")) == whole.text
    assert whole.response_metadata["finish_reason"] == "length"
    parsed = chat.with_structured_output(Verdict).invoke("Is Paris the capital of France?")
    assert isinstance(parsed, Verdict)


def test_langchain_calls_tools(openai_served: Served) -> None:
    chat = ChatOpenAI(
        base_url=openai_served.base_url,
        api_key=SecretStr("none"),
        model="caller",
        temperature=0,
        max_completion_tokens=120,
        max_retries=0,
    )
    called = chat.with_structured_output(Verdict, method="function_calling").invoke("Paris?")
    assert isinstance(called, Verdict)
    answered = chat.bind_tools([Verdict], tool_choice="any").invoke("Paris?")
    assert [call["name"] for call in answered.tool_calls] == ["Verdict"]
