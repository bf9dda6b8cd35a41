"""What protobuf lets pass and the contract does not: no message, unknown fields, odd times."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from services.chassis.errors import Violation

_TIME = "google.protobuf.Timestamp"
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799  # years 1 to 9999
_NOT_A_MESSAGE = Violation("request", "the bytes are not a message of this call's type in UTF-8")
_NUL = "a text holds a NUL character; leave it out"
_NO_SUCH_TIME = "must be a time of the years 1 to 9999 with 0 to 999999999 nanoseconds"


def lenient(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Give None for what can't be read, so that the refusal is an error like any other."""

    def read(wire: bytes) -> Any:
        try:
            return deserialize(wire)
        except DecodeError:
            return None

    return read


def violations(request: Message | None) -> Iterator[Violation]:
    """Name what the wire brought that is no part of the contract."""
    if request is None:
        yield _NOT_A_MESSAGE
        return
    if _holds_times(request.DESCRIPTOR):
        yield from (
            Violation(path, _NO_SUCH_TIME) for path, part in _parts(request, "") if not _right(part)
        )
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    if known.ByteSize() != request.ByteSize():
        for path, part in _parts(request, ""):
            unknown: Any = UnknownFieldSet(part)  # its stubs know no iteration
            for field in unknown:
                name = f"{path}.{field.field_number}" if path else str(field.field_number)
                yield Violation(name, "unknown field; this version of the hub does not know it")


def nul_violations(request: Message) -> Iterator[Violation]:
    """Name the texts that Postgres can't store."""
    for path, part in _parts(request, ""):
        for field, value in part.ListFields():
            if any("\0" in text for text in _texts(field, value)):
                yield Violation(f"{path}.{field.name}" if path else field.name, _NUL)


def _texts(field: FieldDescriptor, value: Any) -> Iterator[str]:
    """List a field's texts, a map's keys and values among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (each for pair in value.items() for each in pair if isinstance(each, str))
    elif field.is_repeated:
        yield from (each for each in value if isinstance(each, str))


@cache
def _holds_times(descriptor: Descriptor, above: tuple[str, ...] = ()) -> bool:
    name = descriptor.full_name
    inner = [f.message_type for f in descriptor.fields if f.message_type]
    return name == _TIME or (
        name not in above and any(_holds_times(m, (*above, name)) for m in inner)
    )


def _right(part: Any) -> bool:
    return part.DESCRIPTOR.full_name != _TIME or bool(
        _FIRST_SECOND <= part.seconds <= _LAST_SECOND and 0 <= part.nanos < 10**9
    )


def _parts(message: Message, path: str) -> Iterator[tuple[str, Message]]:
    """List a message and all below it, by their paths."""
    yield path, message
    for field, value in message.ListFields():
        if field.message_type:
            name = f"{path}.{field.name}" if path else field.name
            for step, inner in _inner(field, value):
                yield from _parts(inner, name + step)


def _inner(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Message]]:
    entry: Any = field.message_type
    if entry.GetOptions().map_entry:
        if entry.fields_by_name["value"].message_type:
            yield from ((f'["{key}"]', item) for key, item in value.items())
    elif field.is_repeated:
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        yield "", value
