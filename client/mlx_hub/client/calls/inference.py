"""Calls of inference: one request, answered whole or as it is made."""

from collections.abc import Iterable, Mapping

from google.protobuf.message import Message
from mlx_hub.client.contract import Generation, method
from mlx_hub.inference.v1 import inference_service_pb2 as pb
from mlx_hub.inference.v1.generation_pb2 import (
    ChatMessage,
    Completion,
    GenerateEvent,
    GenerateRequest,
)


def generate(
    model_id: int,
    prompt: str = "",
    *,
    messages: Iterable[Mapping[str, str]] = (),
    version: int | str = "",
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: Mapping[int, float] | None = None,
    stop: Iterable[str] = (),
    seed: int | None = None,
    logprobs: bool | None = None,
    top_logprobs: int | None = None,
    timeout: float | None = None,
) -> Generation[Completion]:
    """Answer a prompt (continued as it is) or messages ({"role", "content"}, by chat template).

    `version` is a number, an alias, `base`, or empty for the latest; `timeout` is in seconds.
    """
    request = GenerateRequest(
        model_id=model_id,
        prompt=prompt,
        messages=[ChatMessage(**message) for message in messages],
        version=str(version),
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=logit_bias,
        stop=stop,
        seed=seed,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
    )
    return _as("Generate", request, Completion, timeout)


def streamed(whole: Generation[Completion]) -> Generation[GenerateEvent]:
    """The same request, to be answered piece by piece."""
    return _as("StreamGenerate", whole.request, GenerateEvent, whole.timeout)


def _as[R: Message](
    name: str, request: Message, reply: type[R], timeout: float | None
) -> Generation[R]:
    return Generation(
        method(pb.DESCRIPTOR, "InferenceService", name), request, reply, timeout=timeout
    )
