"""Calls of inference: one request, answered whole or as it is made."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict, Unpack

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from mlx_hub.client.contract import Call, Generation, Pages, method
from mlx_hub.inference.v1 import cache_pb2
from mlx_hub.inference.v1 import inference_service_pb2 as pb
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import ChatMessage, GenerateEvent, GenerateRequest
from mlx_hub.inference.v1.generation_record_pb2 import (
    GenerationOutcome,
    GenerationRecord,
    GetGenerationRequest,
    ListGenerationsRequest,
    ListGenerationsResponse,
)
from mlx_hub.inference.v1.tools_pb2 import Choice, Tool, ToolChoice


class SamplingFields(TypedDict, total=False):
    """How tokens are picked, told and kept; what is left out or None takes the hub's default."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    stop: Iterable[str] | None
    seed: int | None
    logprobs: bool | None
    top_logprobs: int | None
    drafting: bool | None
    cache_prompt: bool | None
    cache_salt: str | None


class OutputFields(SamplingFields, total=False):
    """What the answer must look like: one of the first three at most, or tools.

    A schema is a mapping or JSON as text, wherever one stands. A tool is a mapping of name,
    description, parameters (the schema of its arguments) and strict.
    """

    response_schema: Mapping[str, Any] | str | None
    regex: str | None
    choice: Iterable[str] | None
    tools: Iterable[Mapping[str, Any]] | None
    tool_choice: Literal["auto", "none", "required"] | None
    required_tool: str | None


def generate(
    model_id: int,
    prompt: str = "",
    *,
    messages: Iterable[Mapping[str, Any]] = (),
    version: int | str = "",
    timeout: float | None = None,
    **fields: Unpack[OutputFields],
) -> Generation[Completion]:
    """Answer a prompt (continued as it is) or messages ({"role", "content"}, by chat template).

    `version` is a number, an alias, `base`, or empty for the latest; `timeout` is in seconds.
    The other fields are those of the contract's GenerateRequest. A message may hold `tool_calls`,
    as completions do, or answer one by its `tool_call_id`.
    """
    request = GenerateRequest(
        model_id=model_id,
        prompt=prompt,
        messages=[ChatMessage(**message) for message in messages],
        version=str(version),
        **_encoded(fields),
    )
    return _as("Generate", request, Completion, timeout)


def _encoded(fields: OutputFields) -> dict[str, Any]:
    """Give fields as the contract holds them: schemas as text, choices by name."""
    found: dict[str, Any] = {**fields}
    if found.get("response_schema") is not None:
        found["response_schema"] = _text(found["response_schema"])
    if found.get("choice") is not None:
        found["choice"] = Choice(options=found["choice"])
    if found.get("tool_choice") is not None:
        found["tool_choice"] = ToolChoice.Value(f"TOOL_CHOICE_{found['tool_choice'].upper()}")
    tools = [dict(tool) for tool in found.get("tools") or ()]
    for tool in tools:
        tool["parameters"] = _text(tool.get("parameters") or "")
    return found | {"tools": [Tool(**tool) for tool in tools]}


def _text(schema: Mapping[str, Any] | str) -> str:
    return schema if isinstance(schema, str) else json.dumps(schema)


def streamed(whole: Generation[Completion]) -> Generation[GenerateEvent]:
    """The same request, to be answered piece by piece."""
    return _as("StreamGenerate", whole.request, GenerateEvent, whole.timeout)


def get_generation(generation_id: str) -> Call[GenerationRecord]:
    """Tell where a past answer came from and how it ended; OpenAI ids are generation ids, too."""
    request = GetGenerationRequest(generation_id=generation_id)
    return Call(_rpc("GetGeneration"), request, GenerationRecord)


def list_generations(
    *,
    model_id: int = 0,
    version: int | None = None,
    outcome: str = "unspecified",
    page_size: int = 0,
) -> Pages[ListGenerationsResponse, GenerationRecord]:
    """List past answers, newest first; version 0 is the base model, no version is all of them.

    `outcome` is `running`, `finished`, `failed`, `cancelled` or `lost`.
    """
    request = ListGenerationsRequest(
        model_id=model_id,
        version=version,
        outcome=GenerationOutcome.Value(f"GENERATION_OUTCOME_{outcome.upper()}"),
        page_size=page_size,
    )
    call = Call(_rpc("ListGenerations"), request, ListGenerationsResponse)
    return Pages(call, lambda page: page.generations, lambda page: page.next_page_token)


def cache_stats() -> Call[cache_pb2.CacheStats]:
    """Tell what the engines keep of prompts that they have read."""
    return Call(_rpc("GetCacheStats"), cache_pb2.GetCacheStatsRequest(), cache_pb2.CacheStats)


def clear_cache(model_id: int = 0) -> Call[cache_pb2.ClearCacheResponse]:
    """Forget it: all, or what is kept for this model's base model."""
    request = cache_pb2.ClearCacheRequest(model_id=model_id)
    return Call(_rpc("ClearCache"), request, cache_pb2.ClearCacheResponse)


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "InferenceService", name)


def _as[R: Message](
    name: str, request: Message, reply: type[R], timeout: float | None
) -> Generation[R]:
    return Generation(_rpc(name), request, reply, timeout=timeout)
