"""Several choices: their seeds and names, how they are interleaved, counted and ended."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import pytest
from google.api import httpbody_pb2
from mlx_hub.inference.v1.generation_pb2 import GenerateRequest
from mlx_hub.openai.v1 import openai_service_pb2

from services.chassis.errors import Exhausted
from services.inference.domain import (
    Answer,
    Delta,
    Finished,
    Generation,
    LikelyToken,
    Provenance,
    TokenLogprob,
)
from services.inference.openai import OpenAIServicer
from services.inference.openai_choices import generation_id, requests_of, side_by_side
from services.inference.openai_replies import Head
from services.inference.openai_requests import read_completion
from services.inference.openai_texts import TextReply

PROVENANCE = Provenance(1, "bot", "tiny", "b" * 64)


def asked(**fields: Any) -> Any:
    return read_completion(json.dumps({"model": "bot", "prompt": "hi", **fields}).encode())


def test_each_choice_has_a_seed_and_a_name_of_its_own() -> None:
    found = requests_of(asked(prompt=["a", "b"], n=2, seed=2**31 - 1))
    assert [(r.prompt, r.seed) for r in found] == [
        ("a", 2**31 - 1),
        ("a", 0),
        ("b", 2**31 - 1),
        ("b", 0),
    ]
    assert not any(r.HasField("seed") for r in requests_of(asked(n=3)))
    assert [generation_id("cmpl-1", n) for n in range(3)] == ["cmpl-1", "cmpl-1-1", "cmpl-1-2"]


class Run:
    """A generator that tells when it was closed."""

    def __init__(self, *values: int, error: Exception | None = None, waits: bool = False) -> None:
        self.values, self.error, self.waits, self.closed = values, error, waits, False

    async def frames(self) -> AsyncGenerator[int, None]:
        try:
            for value in self.values:
                yield value
                await asyncio.sleep(0)
            if self.error:
                raise self.error
            if self.waits:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_frames_come_as_they_are_made_with_their_index() -> None:
    runs = [Run(1, 2), Run(), Run(3)]
    frames = [frame async for frame in side_by_side([run.frames() for run in runs])]
    assert sorted(frames) == [(0, 1), (0, 2), (2, 3)]
    assert frames[:2] == [(0, 1), (2, 3)]


async def test_the_error_of_one_ends_all() -> None:
    runs = [Run(1, waits=True), Run(2, error=Exhausted("QUEUE_FULL", "m"))]
    with pytest.raises(Exhausted):
        _ = [frame async for frame in side_by_side([run.frames() for run in runs])]
    assert all(run.closed for run in runs)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_leaves_ends_all(cancelled: bool) -> None:
    runs = [Run(1, waits=True), Run(2, waits=True)]
    told = asyncio.Event()

    async def read() -> None:
        async with aclosing(side_by_side([run.frames() for run in runs])) as frames:
            async for _ in frames:
                told.set()
                if not cancelled:
                    return

    reader = asyncio.ensure_future(read())
    await told.wait()
    if cancelled:
        await asyncio.sleep(0.01)
        reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert all(run.closed for run in runs)


def answer(text: str = "ab", *, tokens: int = 2, logprobs: tuple[TokenLogprob, ...] = ()) -> Answer:
    finished = Finished("length", tokens=tokens, prompt_tokens=9, cached_tokens=4, ttft_ms=1)
    return Answer(text, finished, 2, 1, PROVENANCE, Generation(prompt="x"), logprobs)


def test_usage_counts_every_answer_and_each_prompt_once() -> None:
    head = Head("cmpl-1", 5, "bot", n=2)
    assert head.counted([answer(), answer(), answer(), answer(tokens=5)]) == {
        "prompt_tokens": 18,
        "completion_tokens": 11,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 8},
    }


def test_completions_read_as_openais_do() -> None:
    a, half = LikelyToken(1, "a", b"a", -1), LikelyToken(2, "\ufffd", b"\xc3", -2)
    rest = LikelyToken(3, "\ufffd", b"\xa9", -0.5)
    logprobs = tuple(TokenLogprob(token, (a,)) for token in (a, half, rest, a))
    reply = TextReply(Head("cmpl-1", 5, "bot"), ["hi"])
    body = json.loads(reply.whole([answer("aéa", logprobs=logprobs)]))
    assert (body["id"], body["object"], body["model"]) == ("cmpl-1", "text_completion", "bot")
    [choice] = body["choices"]
    likely = choice.pop("logprobs")
    assert choice == {"index": 0, "text": "hiaéa", "finish_reason": "length"}
    assert likely["tokens"] == ["a", "bytes:\\xc3", "bytes:\\xa9", "a"]
    assert likely["token_logprobs"] == [-1, -2, -0.5, -1]
    assert likely["top_logprobs"][1] == {"a": -1, "bytes:\\xc3": -2}
    assert likely["text_offset"] == [0, 1, 1, 2]
    [first], [second] = (reply.piece(0, Delta("x", 1, logprobs[n : n + 2])) for n in (0, 2))
    offsets = [
        json.loads(event.removeprefix(b"data: "))["choices"][0]["logprobs"]["text_offset"]
        for event in (first, second)
    ]
    assert offsets == [[0, 1], [1, 2]]


class Scripted:
    """Answers, or fails from the second choice on; a catalogue and a context, too."""

    name, id = "bot", 7

    def __init__(self, *, fails: bool = False) -> None:
        self.fails, self.metadata = fails, [("", "")]
        self.asked: list[tuple[str, str]] = []

    async def answer(
        self, request: GenerateRequest, _: Any, generation_id: str, *, whole: bool
    ) -> AsyncGenerator[Delta | Answer, None]:
        self.asked.append((generation_id, request.prompt))
        if self.fails and len(self.asked) > 1:
            raise Exhausted("QUEUE_FULL", "m", retry_after_s=1.5)
        yield Delta("a", 1)
        yield answer("a")

    async def models(self, _: str) -> list["Scripted"]:
        return [self]

    def time_remaining(self) -> None:
        return None

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def send_initial_metadata(self, sent: Any) -> None:
        self.metadata = list(sent)


async def bodies(scripted: Any, **fields: Any) -> list[bytes]:
    body = {"model": "bot", "prompt": "hi", "n": 2, **fields}
    data = httpbody_pb2.HttpBody(data=json.dumps(body).encode())
    request = openai_service_pb2.CreateCompletionRequest(body=data)
    servicer = OpenAIServicer(cast(Any, scripted), cast(Any, scripted))
    return [each.data async for each in servicer.CreateCompletion(request, scripted)]


async def test_choices_come_whole_or_interleaved() -> None:
    scripted = Scripted()
    [whole] = await bodies(scripted, prompt=["p", "q"], echo=True)
    choices = json.loads(whole)["choices"]
    assert [(c["index"], c["text"]) for c in choices] == [
        (0, "pa"),
        (1, "pa"),
        (2, "qa"),
        (3, "qa"),
    ]
    reply_id = json.loads(whole)["id"]
    assert sorted(scripted.asked) == sorted(
        (generation_id(reply_id, n), "ppqq"[n]) for n in range(4)
    )
    events = await bodies(Scripted(), stream=True, stream_options={"include_usage": True})
    assert events.pop() == b"data: [DONE]\n\n"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert chunks.pop()["usage"]["completion_tokens"] == 4
    for index in (0, 1):
        told = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(c["text"] for c in told) == "a"
        assert [c["finish_reason"] for c in told] == [None, None, "length"]


async def test_a_choice_that_fails_fails_the_request() -> None:
    scripted = Scripted(fails=True)
    [refused] = await bodies(scripted)
    assert json.loads(refused)["error"]["code"] == "queue_full"
    assert dict(scripted.metadata) == {"x-http-code": "429", "retry-after": "2"}
    with pytest.raises(Exhausted):
        await bodies(Scripted(fails=True), stream=True)


async def test_what_nobody_expected_is_told_in_openais_shape_without_its_text() -> None:
    scripted = Scripted()
    scripted.models = None  # type: ignore[assignment]  # a fault of ours
    [refused] = await bodies(scripted)
    error = json.loads(refused)["error"]
    assert (error["type"], error["code"], error["message"]) == (
        "server_error",
        "internal",
        "internal error",
    )
    assert dict(scripted.metadata) == {"x-http-code": "500"}
