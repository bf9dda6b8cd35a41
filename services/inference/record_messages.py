"""Between what is kept of a generation and the contract's messages; pure functions."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_record_pb2 as pb

from services.chassis import paging
from services.inference.domain import Course, Generation, Turn
from services.inference.journal import Entry, Wanted
from services.inference.messages import request_of
from services.inference.output_messages import reason_to_proto

_NO_END = completion_pb.FINISH_REASON_UNSPECIFIED
_TEXTUAL = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE)
# Of the fields that hold text or messages only these are kept.
_KEPT = ("stop", "logit_bias", "response_schema", "regex", "choice", "required_tool")


def entry_of(course: Course) -> Entry:
    """Write a generation down; its text and its prompt's are measured and hashed, not kept."""
    provenance, generation = course.target.provenance, course.generation
    if done := course.finished:
        provenance = done.provenance_of(course.target)
    record = pb.GenerationRecord(
        generation_id=generation.id,
        finish_reason=reason_to_proto(done.reason) if done else _NO_END,
        error_reason=course.error_reason,
        provenance=completion_pb.Provenance(**vars(provenance)),
        request=request_of(generation),
        prompt_digest=hashlib.sha256(_prompt(generation)).hexdigest(),
        prompt_bytes=generation.text_bytes,
        text_digest=course.text_digest,
        text_bytes=course.text_bytes,
        prompt_tokens=done.prompt_tokens if done else 0,
        cached_tokens=done.cached_tokens if done else 0,
        drafted_tokens=done.drafted_tokens if done else 0,
        accepted_tokens=done.accepted_tokens if done else 0,
        tokens=course.tokens,
        ttft_ms=course.ttft_ms,
        engine_ttft_ms=done.ttft_ms if done else 0,
        latency_ms=course.latency_ms,
        started_at=_timestamp(course.started_at),
        ended_at=None if course.ended_at is None else _timestamp(course.ended_at),
    )
    _clear_text(record.request)
    record.request.model_id = provenance.model_id
    record.request.version = str(provenance.version or "base")
    return Entry(
        id=generation.id,
        model_id=provenance.model_id,
        version=provenance.version,
        outcome=course.outcome,
        record=record.SerializeToString(),
        lineage=course.target.lineage,
    )


def record_of(entry: Entry) -> pb.GenerationRecord:
    """Read what was written down, with the lineage if the entry has it."""
    record = pb.GenerationRecord.FromString(entry.record)
    record.outcome = pb.GenerationOutcome.Value(f"GENERATION_OUTCOME_{entry.outcome.upper()}")
    if entry.lineage:
        record.lineage.MergeFromString(entry.lineage)
    return record


def wanted_of(request: pb.ListGenerationsRequest) -> Wanted:
    """Read which entries are listed."""
    outcome = pb.GenerationOutcome.Name(request.outcome).removeprefix("GENERATION_OUTCOME_")
    return Wanted(
        model_id=request.model_id or None,
        version=request.version if request.HasField("version") else None,
        outcome=outcome.lower() if request.outcome else None,
    )


def page_key(request: pb.ListGenerationsRequest) -> int | None:
    """Read the number that a page ends before; None for the first page."""
    key = paging.decode_token(request.page_token, _named(request), [int])
    return int(key[0]) if key else None


def page_of(
    request: pb.ListGenerationsRequest, entries: Sequence[Entry], size: int
) -> pb.ListGenerationsResponse:
    """Write a page of `size` of the entries; one more tells that there is a next page."""
    more = len(entries) > size
    token = paging.encode_token([entries[size - 1].number], _named(request)) if more else ""
    shown = [record_of(entry) for entry in entries[:size]]
    return pb.ListGenerationsResponse(generations=shown, next_page_token=token)


def _named(request: pb.ListGenerationsRequest) -> dict[str, str]:
    return {name: str(value) for name, value in vars(wanted_of(request)).items()}


def _clear_text(request: Message) -> None:
    for field, _ in request.ListFields():
        if field.type in _TEXTUAL and field.name not in _KEPT:
            request.ClearField(field.name)


def _prompt(generation: Generation) -> bytes:
    """Give the prompt as it is hashed; the contract says how."""
    if not generation.turns:
        return generation.prompt.encode()
    turns = [_turn(turn) for turn in generation.turns]
    return json.dumps(turns, separators=(",", ":")).encode()


def _turn(turn: Turn) -> dict[str, Any]:
    """Give a message as it is hashed: a field that it lacks is left out."""
    said: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        said["tool_calls"] = [vars(call) for call in turn.tool_calls]
    if turn.tool_call_id:
        said["tool_call_id"] = turn.tool_call_id
    return said


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(int(seconds * 1e6))
    return stamp
