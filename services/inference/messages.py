"""Between the contract's messages and the domain's values; pure functions."""

from collections.abc import Callable
from pathlib import Path

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import residency_pb2
from mlx_hub.internal.v1 import engine_pb2
from mlx_hub.registry.v1 import publication_pb2

from services.chassis.errors import (
    DataLoss,
    FailedPrecondition,
    HubError,
    Internal,
    Invalid,
    Unavailable,
    Violation,
)
from services.inference.domain import (
    Adapter,
    Answer,
    Base,
    Delta,
    Finished,
    Generation,
    LikelyToken,
    Loading,
    Provenance,
    Target,
    TokenLogprob,
    Turn,
)

# What picks tokens, as every completion tells it.
_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed",
)  # fmt: skip
_OPTIONAL = ("max_tokens", "logprobs", "top_logprobs", *_SAMPLING)
_KINDS: dict[str, type[HubError]] = {
    "PROMPT_TOO_LONG": Invalid,
    "PROMPT_REFUSED": Invalid,
    "ARTIFACT_CORRUPT": DataLoss,
    "VERSION_NOT_READY": FailedPrecondition,
    "ENGINE_START_FAILED": Unavailable,
}


def generation_of(request: pb.GenerateRequest) -> Generation:
    """Read a request; what it leaves open takes the domain's defaults."""
    given = {f.name: value for f, value in request.ListFields() if f.name in _OPTIONAL}
    turns = tuple(Turn(m.role, m.content) for m in request.messages)
    bias = dict(request.logit_bias)
    stop = tuple(request.stop)
    return Generation(prompt=request.prompt, turns=turns, stop=stop, logit_bias=bias, **given)


def request_of(generation: Generation) -> pb.GenerateRequest:
    """Write a request in which nothing but the seed is left open."""
    return pb.GenerateRequest(
        prompt=generation.prompt,
        messages=[pb.ChatMessage(role=t.role, content=t.content) for t in generation.turns],
        stop=generation.stop,
        logit_bias=generation.logit_bias,
        **{name: getattr(generation, name) for name in _OPTIONAL},
    )


def submit_of(
    number: int, generation: Generation, adapter: Adapter | None
) -> engine_pb2.EngineCommand:
    """Write the command that starts a request in an engine."""
    submit = engine_pb2.SubmitCommand(
        request=number,
        generate=request_of(generation),
        adapter=adapter.digest if adapter else "",
        adapter_path=str(adapter.path) if adapter else "",
    )
    return engine_pb2.EngineCommand(submit=submit)


def cancel_of(number: int) -> engine_pb2.EngineCommand:
    """Write the command that drops a request."""
    return engine_pb2.EngineCommand(cancel=engine_pb2.CancelCommand(request=number))


def delta_of(event: engine_pb2.EngineDelta) -> Delta:
    """Read a piece of an answer."""
    return Delta(event.text, event.tokens, tuple(map(logprob_of, event.logprobs)))


def logprob_of(message: completion_pb.TokenLogprob) -> TokenLogprob:
    """Read how likely a token was."""
    return TokenLogprob(_likely(message.token), tuple(map(_likely, message.top)))


def logprob_to_proto(logprob: TokenLogprob) -> completion_pb.TokenLogprob:
    """Write how likely a token was."""
    top = [completion_pb.LikelyToken(**vars(token)) for token in logprob.top]
    return completion_pb.TokenLogprob(
        token=completion_pb.LikelyToken(**vars(logprob.token)), top=top
    )


def _likely(message: completion_pb.LikelyToken) -> LikelyToken:
    return LikelyToken(message.id, message.text, message.bytes, message.logprob)


def finished_of(event: engine_pb2.EngineFinished) -> Finished:
    """Read the end of an answer."""
    return Finished(
        reason="length" if event.finish_reason == completion_pb.FINISH_REASON_LENGTH else "stop",
        tokens=event.tokens,
        prompt_tokens=event.prompt_tokens,
        cached_tokens=event.cached_tokens,
        ttft_ms=event.ttft_ms,
    )


def error_of(event: engine_pb2.EngineFailed) -> HubError:
    """Read why a request failed."""
    kind = _KINDS.get(event.reason, Internal)
    field = event.metadata.get("field")
    violations = (Violation(field, event.message),) if field else ()
    return kind(event.reason, event.message, metadata=event.metadata, violations=violations)


def completion_of(answer: Answer) -> completion_pb.Completion:
    """Write a finished answer."""
    done = answer.finished
    length = done.reason == "length"
    return completion_pb.Completion(
        text=answer.text,
        tokens=done.tokens,
        latency_ms=answer.latency_ms,
        finish_reason=completion_pb.FINISH_REASON_LENGTH
        if length
        else completion_pb.FINISH_REASON_STOP,
        prompt_tokens=done.prompt_tokens,
        cached_tokens=done.cached_tokens,
        ttft_ms=answer.ttft_ms,
        engine_ttft_ms=done.ttft_ms,
        provenance=completion_pb.Provenance(**vars(answer.provenance)),
        generation_id=answer.generation.id,
        sampling=_sampling(answer.generation),
        logprobs=map(logprob_to_proto, answer.logprobs),
    )


def _sampling(generation: Generation) -> completion_pb.Sampling:
    used = {name: getattr(generation, name) for name in _SAMPLING}
    return completion_pb.Sampling(**used | ({"seed": None} if generation.temperature == 0 else {}))


def loading_of(base_model: str, message: residency_pb2.Loading) -> Loading:
    """Read what an engine says of its way into memory."""
    name = residency_pb2.LoadingStage.Name(message.stage).removeprefix("LOADING_STAGE_").lower()
    return Loading(base_model, name, message.share)  # type: ignore[arg-type]  # its own stages


def loading_to_proto(loading: Loading) -> residency_pb2.Loading:
    """Write how far a model is."""
    stage = residency_pb2.LoadingStage.Value("LOADING_STAGE_" + loading.stage.upper())
    return residency_pb2.Loading(base_model=loading.base_model, stage=stage, share=loading.share)


def event_of(frame: Delta | Loading | Answer) -> pb.GenerateEvent:
    """Write one frame of a stream."""
    if isinstance(frame, Loading):
        return pb.GenerateEvent(loading=loading_to_proto(frame))
    if isinstance(frame, Delta):
        logprobs = map(logprob_to_proto, frame.logprobs)
        delta = pb.TextDelta(text=frame.text, tokens=frame.tokens, logprobs=logprobs)
        return pb.GenerateEvent(delta=delta)
    return pb.GenerateEvent(completion=completion_of(frame))


def target_of(resolved: publication_pb2.ResolvedModel, locate: Callable[[str], Path]) -> Target:
    """Read what the registry resolved; `locate` finds a stored folder."""
    model, base, lineage = resolved.model, resolved.base_model, resolved.lineage
    provenance = Provenance(
        model_id=model.id, model_name=model.name, base_model=base.name, base_digest=base.digest
    )
    adapter = None
    if resolved.HasField("version"):
        version = resolved.version
        adapter = Adapter(version.checksum, locate(version.artifact_path))
        provenance = Provenance(
            model_id=model.id,
            model_name=model.name,
            base_model=base.name,
            base_digest=base.digest,
            version=version.version,
            adapter_digest=version.checksum,
            job_id=version.job_id,
            dataset_digest=lineage.dataset.digest,
            code_commit=lineage.training.code_commit,
        )
    return Target(
        base=Base(
            name=base.name,
            digest=base.digest,
            path=locate(base.artifact_path),
            parameters=int(base.parameters),
            size_bytes=int(base.size_bytes),
        ),
        adapter=adapter,
        provenance=provenance,
    )
