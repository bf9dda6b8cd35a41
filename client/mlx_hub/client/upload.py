"""Calls that send a file: piece by piece, and on a repeat from where it began."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from os import SEEK_END, PathLike
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import Message
from mlx_hub.client.contract import Call

PIECE_BYTES = 256 * 1024

type Source = str | PathLike[str] | BinaryIO
#: Hears how many bytes were sent, of how many; None where the file does not tell its size.
type Progress = Callable[[int, int | None], object]


@dataclass(frozen=True, slots=True)
class Upload[R: Message](Call[R]):
    """A call that lasts as long as its file takes; `request` is the first message."""

    source: Source
    piece: Callable[[bytes], Message]
    #: Where to begin, on a repeat too; None where an open file can't be set back.
    start: int | None
    timeout: float | None
    on_progress: Progress | None = None

    @property
    def size(self) -> int | None:
        """How many bytes there are to send, if the file tells."""
        if isinstance(self.source, str | PathLike):
            return Path(self.source).stat().st_size
        if self.start is None:
            return None
        end = self.source.seek(0, SEEK_END)
        self.source.seek(self.start)
        return end - self.start

    @property
    def resendable(self) -> bool:
        """Whether its file can be read again."""
        return self.start is not None

    def deadline(self, default: float, said: float | None = None) -> float | None:
        """Seconds until the caller gives up: its own, else what `within` said, or never."""
        return said if self.timeout is None else self.timeout

    def messages(self) -> Iterator[Message]:
        """The first message, once the file could be opened, and then its pieces."""
        tell, size, sent = self.on_progress, self.size if self.on_progress else None, 0
        with self._opened() as file:
            yield self.request
            while data := file.read(PIECE_BYTES):
                yield self.piece(data)
                # Asked for the next piece, so this one is on its way.
                sent += len(data)
                if tell:
                    tell(sent, size)

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
