"""OpenAI's JSON: every parameter is honoured, or refused by its name."""

import json
from typing import Any

import pytest

from services.chassis.errors import (
    DataLoss,
    Exhausted,
    FailedPrecondition,
    HubError,
    Internal,
    Invalid,
    NotFound,
    Unavailable,
)
from services.inference.domain import (
    Answer,
    Delta,
    Finished,
    Generation,
    LikelyToken,
    Provenance,
    TokenLogprob,
)
from services.inference.openai_replies import ChatReply, Head, error_body, fingerprint, models_body
from services.inference.openai_requests import read_chat

HI = [{"role": "user", "content": "hi"}]


def read(**fields: Any) -> Any:
    return read_chat(json.dumps({"model": "bot", "messages": HI, **fields}).encode())


def refusal(**fields: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"max_tokens": 7}, "max_tokens", 7),
        ({"max_completion_tokens": 7}, "max_tokens", 7),
        ({"temperature": 0}, "temperature", 0),
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"top_p": 0.25}, "top_p", 0.25),
        ({"seed": 0}, "seed", 0),
        ({"stop": "END"}, "stop", ["END"]),
        ({"stop": ["a", "b"]}, "stop", ["a", "b"]),
        ({"model": "bot:3"}, "version", "3"),
        ({"model": "bot:base"}, "version", "base"),
        ({"model": "bot@champion"}, "version", "champion"),
        ({"model": "bot"}, "version", ""),
    ],
)
def test_honoured_parameters_reach_the_request(
    given: dict[str, Any], field: str, value: object
) -> None:
    chat = read(**given)
    assert chat.name == "bot"
    found = getattr(chat.requests[0], field)
    assert (list(found) if field == "stop" else found) == value


def test_what_is_left_out_takes_openais_defaults() -> None:
    chat = read()
    assert chat.requests[0].temperature == 1
    assert not chat.requests[0].HasField("seed")
    assert not chat.requests[0].HasField("max_tokens")
    assert (chat.stream, chat.include_usage) == (False, False)


def test_streams_may_count_their_tokens() -> None:
    chat = read(stream=True, stream_options={"include_usage": True}, user="somebody")
    assert (chat.stream, chat.include_usage) == (True, True)


def test_developers_speak_as_the_system() -> None:
    chat = read(messages=[{"role": "developer", "content": "be brief"}, *HI])
    assert [m.role for m in chat.requests[0].messages] == ["system", "user"]


def test_penalties_biases_and_logprobs_are_passed_on() -> None:
    given = {"presence_penalty": 0.5, "frequency_penalty": -1, "logit_bias": {"7": -100, "8": 2}}
    request = read(**given, logprobs=True, top_logprobs=3).requests[0]
    assert (request.presence_penalty, request.frequency_penalty) == (0.5, -1)
    assert dict(request.logit_bias) == {7: -100, 8: 2}
    assert (request.logprobs, request.top_logprobs) == (True, 3)


def test_the_prompt_cache_is_asked_for_as_other_servers_have_it() -> None:
    request = read(cache_prompt=False, cache_salt="mine").requests[0]
    assert (request.cache_prompt, request.cache_salt) == (False, "mine")
    assert read().requests[0].cache_prompt
    for field, value in (("cache_prompt", 0), ("cache_salt", 7), ("cache_salt", "x" * 257)):
        assert [v.field for v in refusal(**{field: value}).violations] == [field]


@pytest.mark.parametrize(
    "neutral",
    [
        {"n": 1},
        {"frequency_penalty": 0},
        {"presence_penalty": 0.0},
        {"logprobs": False},
        {"logit_bias": {}},
        {"top_logprobs": 0},
        {"response_format": {"type": "text"}},
        {"parallel_tool_calls": True, "tool_choice": "auto"},
        {"parallel_tool_calls": False},
        {"store": False, "modalities": ["text"]},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
    ],
)
def test_what_asks_for_nothing_is_accepted(neutral: dict[str, Any]) -> None:
    read(**neutral)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"model": None}, "model"),
        ({"model": "Bot!"}, "model"),
        ({"model": "bot:1:2"}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [*HI, {"role": "user", "content": "x", "name": "n"}]}, "messages[1].name"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_completion_tokens": 2**40}, "max_completion_tokens"),
        ({"logprobs": True, "top_logprobs": 20, "max_tokens": 1000, "n": 4}, "logprobs"),
        ({"logprobs": True, "n": 8, "max_tokens": 9000}, "logprobs"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": [1]}, "stop"),
        ({"stop": ["x"] * 9}, "stop"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"user": 5}, "user"),
        ({"user": "\ud800"}, "user"),
        ({"stop": ["a", "\udfff"]}, "stop"),
        ({"cache_salt": "\udfff"}, "cache_salt"),
        ({"messages": [*HI, {"role": "user", "content": "a\ud800b"}]}, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "\ud800"}}]}, "tools"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": "1"}, "frequency_penalty"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": "2"}}, "logit_bias"),
        ({"logit_bias": {"4294967296": 1}}, "logit_bias"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
    ],
)
def test_wrong_values_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    assert [v.field for v in refusal(**given).violations] == [field]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        read_chat(body)
    assert [v.field for v in caught.value.violations] == ["body"]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (Invalid("INVALID_FIELD", "m", field="top_p"), 400, "invalid_request_error", None),
        (
            Invalid("PROMPT_TOO_LONG", "m"),
            400,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (NotFound("MODEL_NOT_FOUND", "m"), 404, "invalid_request_error", "model_not_found"),
        (FailedPrecondition("VERSION_NOT_READY", "m"), 400, "invalid_request_error", None),
        (Exhausted("QUEUE_FULL", "m"), 429, "rate_limit_error", "queue_full"),
        (Unavailable("ENGINE_DIED", "m"), 503, "server_error", "engine_died"),
        (DataLoss("ARTIFACT_CORRUPT", "m"), 500, "server_error", None),
        (Internal("GENERATION_FAILED", "m"), 500, "server_error", None),
    ],
)
def test_errors_take_openais_shape(
    error: HubError, status: int, kind: str, code: str | None
) -> None:
    found, body = error_body(error)
    shown = json.loads(body)["error"]
    assert (found, shown["type"], shown["message"]) == (status, kind, "m")
    assert shown["code"] == (code or error.reason.lower())
    assert shown["param"] == (error.violations[0].field if error.violations else None)


def answer(text: str = "hello", logprobs: tuple[TokenLogprob, ...] = ()) -> Answer:
    provenance = Provenance(1, "bot", "tiny", "b" * 64, 2, "a" * 64, kv_bits=8)
    finished = Finished("length", tokens=3, prompt_tokens=9, cached_tokens=4, ttft_ms=1)
    return Answer(text, finished, 2, 1, provenance, Generation(prompt="x"), logprobs)


def test_a_whole_answer_reads_as_openais_does() -> None:
    body = json.loads(ChatReply(Head("chatcmpl-1", 5, "bot:2")).whole([answer()]))
    assert body["object"] == "chat.completion"
    assert (body["id"], body["created"], body["model"]) == ("chatcmpl-1", 5, "bot:2")
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "hello", "refusal": None}
    assert choice["finish_reason"] == "length"
    assert body["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert body["system_fingerprint"] == "b" * 12 + "-" + "a" * 12 + "-kv8"
    windowed = Provenance(1, "bot", "tiny", "b" * 64, max_kv_size=48)
    assert fingerprint(windowed) == "b" * 12 + "-last48"


def test_logprobs_read_as_openais_do() -> None:
    end, euro = LikelyToken(2, "<|im_end|>", b"", -3), LikelyToken(5, "\ufffd", b"\xe2", -0.5)
    logprobs = (TokenLogprob(euro, (euro, end)),)
    shown = {
        "content": [
            {
                "token": "\ufffd",
                "logprob": -0.5,
                "bytes": [0xE2],
                "top_logprobs": [
                    {"token": "\ufffd", "logprob": -0.5, "bytes": [0xE2]},
                    {"token": "<|im_end|>", "logprob": -3, "bytes": None},
                ],
            }
        ],
        "refusal": None,
    }
    reply = ChatReply(Head("chatcmpl-1", 5, "bot"))
    [choice] = json.loads(reply.whole([answer(logprobs=logprobs)]))["choices"]
    assert choice["logprobs"] == shown
    [chunk] = reply.piece(0, Delta("a", 1, logprobs))
    assert json.loads(chunk.removeprefix(b"data: "))["choices"][0]["logprobs"] == shown
    assert json.loads(reply.whole([answer()]))["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("include_usage", [False, True])
def test_chunks_read_as_openais_do(include_usage: bool) -> None:
    reply = ChatReply(Head("chatcmpl-1", 5, "bot", include_usage))
    [frame] = reply.piece(0, Delta("é\n", 1))
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"}\n\n")
    assert frame.count(b"\n") == 2
    body = json.loads(frame.removeprefix(b"data: "))
    assert body["choices"][0]["delta"] == {"content": "é\n"}
    assert ("usage" in body) is include_usage
    assert json.loads(reply.usage([answer()]).removeprefix(b"data: "))["choices"] == []


def test_the_list_of_models_reads_as_openais_does() -> None:
    body = json.loads(models_body([("bot", 5), ("bot:1", 6)]))
    assert body["object"] == "list"
    assert body["data"][1] == {
        "id": "bot:1",
        "object": "model",
        "created": 6,
        "owned_by": "mlx-hub",
    }
