"""Between the contract's messages and the domain's values; pure functions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from google.rpc.status_pb2 import Status
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import residency_pb2
from mlx_hub.internal.v1 import engine_pb2
from mlx_hub.registry.v1 import base_model_pb2, lineage_pb2, publication_pb2

from services.chassis.errors import (
    DataLoss,
    FailedPrecondition,
    HubError,
    Internal,
    Invalid,
    Unavailable,
    Violation,
)
from services.chassis.logs import REQUEST_ID
from services.chassis.traces import traceparent
from services.inference import output_messages as output
from services.inference.domain import (
    Adapter,
    Answer,
    Attention,
    Base,
    Delta,
    Finished,
    Generation,
    LikelyToken,
    Loading,
    Provenance,
    Target,
    TokenLogprob,
)

# What picks tokens, as every completion tells it.
_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed",
)  # fmt: skip
_OPTIONAL = (
    "max_tokens", "logprobs", "top_logprobs", "drafting", "cache_prompt", "cache_salt", *_SAMPLING,
)  # fmt: skip
_KINDS: dict[str, type[HubError]] = {
    "PROMPT_TOO_LONG": Invalid,
    "PROMPT_REFUSED": Invalid,
    "CONSTRAINT_REFUSED": Invalid,
    "TOOLS_UNSUPPORTED": Invalid,
    "ARTIFACT_CORRUPT": DataLoss,
    "VERSION_NOT_READY": FailedPrecondition,
    "ENGINE_START_FAILED": Unavailable,
}


def generation_of(
    request: pb.GenerateRequest, *, drafting: bool = False, whole: bool = False
) -> Generation:
    """Read a request; what it leaves open is as `drafting` says, or the domain's default."""
    given = {"drafting": drafting} | {
        f.name: value for f, value in request.ListFields() if f.name in _OPTIONAL
    }
    return Generation(
        prompt=request.prompt,
        turns=tuple(map(output.turn_of, request.messages)),
        stop=tuple(request.stop),
        logit_bias=dict(request.logit_bias),
        output=output.output_of(request),
        whole=whole,
        **given,
    )


def request_of(generation: Generation) -> pb.GenerateRequest:
    """Write a request in which nothing but the seed is left open."""
    request = pb.GenerateRequest(
        prompt=generation.prompt,
        messages=map(output.turn_to_proto, generation.turns),
        stop=generation.stop,
        logit_bias=generation.logit_bias,
        **{name: getattr(generation, name) for name in _OPTIONAL},
    )
    output.write_output(generation.output, request)
    return request


def submit_of(
    number: int, generation: Generation, adapter: Adapter | None, coming: int = 0
) -> engine_pb2.EngineCommand:
    """Write the command that starts a request in an engine."""
    submit = engine_pb2.SubmitCommand(
        request=number,
        generate=request_of(generation),
        adapter=adapter.digest if adapter else "",
        adapter_path=str(adapter.path) if adapter else "",
        request_id=REQUEST_ID.get(),
        traceparent=traceparent(),
        coming=coming,
        whole=generation.whole,
    )
    return engine_pb2.EngineCommand(submit=submit)


def draft_of(base: Base) -> engine_pb2.DraftModel | None:
    """Write a base model's draft model, if it has one."""
    draft = base.draft
    return engine_pb2.DraftModel(name=draft.name, path=str(draft.path)) if draft else None


def cancel_of(number: int) -> engine_pb2.EngineCommand:
    """Write the command that drops a request."""
    return engine_pb2.EngineCommand(cancel=engine_pb2.CancelCommand(request=number))


def delta_of(event: engine_pb2.EngineEvent) -> Delta:
    """Read a piece of an answer."""
    if event.HasField("tool_call"):
        call = event.tool_call
        return Delta("", call.tokens, tool_calls=(output.call_of(call.call),))
    delta = event.delta
    return Delta(delta.text, delta.tokens, tuple(map(logprob_of, delta.logprobs)))


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
        reason=output.reason_of(event.finish_reason),
        tokens=event.tokens,
        prompt_tokens=event.prompt_tokens,
        cached_tokens=event.cached_tokens,
        ttft_ms=event.ttft_ms,
        drafted_tokens=event.drafted_tokens,
        accepted_tokens=event.accepted_tokens,
        wait_ms=event.wait_ms,
        decode_ms=event.decode_ms,
        draft_model=event.draft_model,
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
    return completion_pb.Completion(
        text=answer.text,
        tokens=done.tokens,
        latency_ms=answer.latency_ms,
        finish_reason=output.reason_to_proto(done.reason),
        prompt_tokens=done.prompt_tokens,
        cached_tokens=done.cached_tokens,
        ttft_ms=answer.ttft_ms,
        engine_ttft_ms=done.ttft_ms,
        provenance=completion_pb.Provenance(**vars(answer.provenance)),
        generation_id=answer.generation.id,
        sampling=_sampling(answer.generation),
        logprobs=map(logprob_to_proto, answer.logprobs),
        drafted_tokens=done.drafted_tokens,
        accepted_tokens=done.accepted_tokens,
        tool_calls=map(output.call_to_proto, answer.tool_calls),
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


def broken_of(status: Status) -> pb.GenerateEvent:
    """Write why an answer broke off."""
    return pb.GenerateEvent(error=status)


def event_of(frame: Delta | Loading | Answer) -> pb.GenerateEvent:
    """Write one frame of a stream."""
    if isinstance(frame, Loading):
        return pb.GenerateEvent(loading=loading_to_proto(frame))
    if isinstance(frame, Delta) and frame.tool_calls:
        return pb.GenerateEvent(tool_call=output.call_to_proto(frame.tool_calls[0]))
    if isinstance(frame, Delta):
        logprobs = map(logprob_to_proto, frame.logprobs)
        delta = pb.TextDelta(text=frame.text, tokens=frame.tokens, logprobs=logprobs)
        return pb.GenerateEvent(delta=delta)
    return pb.GenerateEvent(completion=completion_of(frame))


def target_of(
    resolved: publication_pb2.ResolvedModel,
    locate: Callable[[str], Path],
    attention: Attention | None = None,
) -> Target:
    """Read what the registry resolved; `locate` finds a folder, `attention` is the engines'."""
    base, version = base_of(resolved.base_model, locate), resolved.version
    provenance = _provenance_of(resolved, attention or Attention())
    lineage = _lineage_of(resolved).SerializeToString(deterministic=True)
    if not resolved.HasField("version"):
        return Target(base, None, provenance, lineage)
    files = Adapter(version.checksum, locate(version.artifact_path))
    if resolved.lineage.training.parameters.get("method") != "full":
        base = replace(base, adapter_bytes=int(version.size_bytes))
        return Target(base, files, provenance, lineage)
    # Nothing of the base model's engine would be of use.
    own = Base(
        name=f"{resolved.model.name}:{version.version}",
        digest=files.digest,
        path=files.path,
        parameters=base.parameters,
        size_bytes=base.size_bytes + int(version.size_bytes),
        under=base,
    )
    return Target(own, None, provenance, lineage)


def base_of(base: base_model_pb2.BaseModel, locate: Callable[[str], Path]) -> Base:
    """Read a base model; `locate` finds a stored folder."""
    return Base(
        name=base.name,
        digest=base.digest,
        path=locate(base.artifact_path),
        parameters=int(base.parameters),
        size_bytes=int(base.size_bytes),
    )


def _provenance_of(resolved: publication_pb2.ResolvedModel, attention: Attention) -> Provenance:
    """Give where an answer comes from; what a base model alone lacks is empty in the messages."""
    model, base, version = resolved.model, resolved.base_model, resolved.version
    return Provenance(
        model_id=model.id,
        model_name=model.name,
        base_model=base.name,
        base_digest=base.digest,
        version=version.version,
        adapter_digest=version.checksum,
        job_id=version.job_id,
        dataset_digest=resolved.lineage.dataset.digest,
        code_commit=resolved.lineage.training.code_commit,
        **vars(attention),
    )


def _lineage_of(resolved: publication_pb2.ResolvedModel) -> lineage_pb2.Lineage:
    """Give a version's lineage, or what there is of it for the base model."""
    if resolved.HasField("version"):
        return resolved.lineage
    model, base = resolved.model, resolved.base_model
    origin = {"source": base.source, "source_revision": base.source_revision}
    return lineage_pb2.Lineage(
        model_id=model.id,
        model_name=model.name,
        base_model=lineage_pb2.BaseModelRef(name=base.name, digest=base.digest, **origin),
    )
