"""What commands print: the contract's own JSON for programs, tables for people."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as the REST API does.")]

# Without the control characters that could drive a terminal: what the hub stores or a model
# writes is text, not commands.
_CONTROL = {c: "\ufffd" for c in (*range(32), *range(127, 160)) if chr(c) not in "\n\t"}
_PIPE_WIDTH = 160


def printable(text: str) -> str:
    """The text with everything that a terminal would obey replaced."""
    return text.translate(_CONTROL)


def literal(text: str, style: str = "") -> Text:
    """The text as it is for any console: neither terminal codes nor rich's own markup."""
    return Text(printable(text), style=style)


def console(*, stderr: bool = False) -> Console:
    """A console that takes all text literally; wide when nobody looks at it."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def plain(message: Message) -> dict[str, object]:
    """The message as the REST API prints it: whole numbers without a point, also of doubles."""
    told = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: _whole(value) for name, value in told.items()}


def _whole(value: object) -> object:
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def emit(value: object, *, indent: int | None = 2) -> None:
    """Print JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def show_list[M: Message](
    items: Iterable[M], as_json: bool, columns: Mapping[str, Callable[[M], object]]
) -> None:
    """Print items as a JSON array or as a table."""
    if as_json:
        emit([plain(item) for item in items])
        return
    table = Table(*columns, box=None, pad_edge=False)
    for item in items:
        table.add_row(*(printable(str(cell(item))) for cell in columns.values()))
    console().print(table)


def show_one(message: Message, as_json: bool) -> None:
    """Print a resource as JSON or as lines of name and value."""
    if as_json:
        emit(plain(message))
        return
    table = Table.grid("", "", padding=(0, 2))
    for name, value in _lines(plain(message), ""):
        table.add_row(printable(name), printable(value))
    console().print(table)


def show_done(sentence: str, as_json: bool) -> None:
    """Say that something without an answer of its own is done; to programs, an empty object."""
    if as_json:
        emit({})
    else:
        typer.echo(printable(sentence))


def _lines(fields: Mapping[str, object], prefix: str) -> Iterable[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, ", ".join(str(item) for item in value)
        else:
            yield prefix + name, str(value)


def moment(time: Timestamp) -> str:
    """A time in the reader's own zone; empty when it has not come."""
    if not time.ByteSize():
        return ""
    return time.ToDatetime().astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: float) -> str:
    """Bytes in the unit a person would choose."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def short(digest: str) -> str:
    """Enough of a digest to tell two apart."""
    return digest[:12]
