"""Calls that send a file: piece by piece, and on a repeat from where it began."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import Message
from mlx_hub.client.contract import Call, repeatable

PIECE_BYTES = 256 * 1024

type Source = str | PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True)
class Upload[R: Message](Call[R]):
    """A call that lasts as long as its file takes; `request` is the first message."""

    source: Source
    piece: Callable[[bytes], Message]
    #: Where to begin, on a repeat too; None where an open file can't be set back.
    start: int | None
    timeout: float | None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent twice: the contract allows it, and the file can be read again."""
        return self.start is not None and repeatable(self.method)

    def deadline(self, default: float) -> float | None:
        """Seconds until the caller gives up: what the caller said, or never."""
        return self.timeout

    def messages(self) -> Iterator[Message]:
        """The first message, once the file could be opened, and then its pieces."""
        with self._opened() as file:
            yield self.request
            while data := file.read(PIECE_BYTES):
                yield self.piece(data)

    def _opened(self) -> "BinaryIO | nullcontext[BinaryIO]":
        if isinstance(self.source, str | PathLike):
            return Path(self.source).open("rb")
        if self.start is not None:
            self.source.seek(self.start)
        return nullcontext(self.source)


def start_of(source: Source) -> int | None:
    """Where a source begins, if it can be read a second time."""
    if isinstance(source, str | PathLike):
        return 0
    return source.tell() if source.seekable() else None


class Sending:
    """One attempt at an upload: raises at once what opening the file raises."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._first = next(messages)
        self._rest = messages
        #: What ended the file before its end; grpc reports no more than a cancelled call.
        self.broken: Exception | None = None

    def __iter__(self) -> Iterator[Message]:
        yield self._first
        while (message := self._next()) is not None:
            yield message

    async def __aiter__(self) -> AsyncIterator[Message]:
        yield self._first
        while (message := await asyncio.to_thread(self._next)) is not None:
            yield message

    def _next(self) -> Message | None:
        try:
            return next(self._rest, None)
        except Exception as error:
            self.broken = error
            raise
