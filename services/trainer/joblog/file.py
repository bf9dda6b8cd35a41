"""A job's log as a file: lines are appended under a lock and found by their sequence.

Sequences rise from line to line, so a line is found by halving, whatever the file's length. One
trainer at a time writes, also where an older one wakes up: each write looks at the last line first.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.chassis.locks import lock
from services.trainer.joblog import lines
from services.trainer.joblog.lines import Draft, Level, Line

LIMIT_BYTES = 16 * 2**20
PAGE_BYTES = 2**20
_BLOCK = 16 * 2**10
_LOCK_SECONDS = 2.0

type Make = Callable[[int], Sequence[Draft]]


@dataclass(frozen=True)
class Page:
    """Some lines, and whether there are more behind them."""

    lines: Sequence[Line]
    more: bool


class LogFile:
    """One file; what a crash left of a last line is nobody's."""

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        """Take the file's place; it is made by the first line."""
        self._path = path
        self._limit = limit

    def forward(self, after: int, count: int) -> Page:
        """Give the lines behind a sequence, oldest first."""
        found: list[Line] = []
        with self._open() as file:
            file.seek(_behind(file, after))
            room = PAGE_BYTES
            while text := _read_line(file):
                room -= len(text)
                if len(found) == count or (room < 0 and found):
                    return Page(found, more=True)
                found.append(lines.decode(text))
        return Page(found, more=False)

    def backward(self, before: int | None, after: int, count: int) -> Page:
        """Give the lines between two sequences, newest first."""
        with self._open() as file:
            end = _end(file) if before is None else _behind(file, before - 1)
            start = _behind(file, after)
            texts = _read_back(file, start, end, count + 1)
            read = sum(map(len, texts))
        found = [lines.decode(text) for text in reversed(texts[-count:] if count else [])]
        return Page(found, more=len(texts) > count or read < end - start)

    def append(self, attempt: int, make: Make) -> None:
        """Append what `make` gives for the place up to which the attempt's output is taken."""
        with self._locked():
            _mend(self._path)
            last = self.backward(None, 0, 1).lines
            if last and last[0].attempt > attempt:
                return  # a newer attempt writes here
            drafts = make(self._taken(attempt))
            sequence = last[0].sequence if last else 0
            texts = []
            for draft in drafts:
                sequence += 1
                line = Line(sequence, attempt, draft.created_at or lines.now(), draft)
                texts.append(lines.encode(line))
            if texts:
                self._write(b"".join(texts))

    def _taken(self, attempt: int) -> int:
        before: int | None = None
        while page := self.backward(before, 0, 100).lines:
            for line in page:
                if line.attempt < attempt:
                    return 0
                if line.draft.taken is not None:
                    return line.draft.taken
            before = page[-1].sequence
        return 0

    def _write(self, text: bytes) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and size + len(text) > self._limit:
            self._shorten()
        with self._path.open("ab", buffering=0) as file:
            file.write(text)

    def _shorten(self) -> None:
        """Keep the newer half, under a first line that says so."""
        with self._open() as file:
            end = _end(file)
            file.seek(max(0, end - self._limit // 2))
            file.readline()
            kept = file.read(end - file.tell())
        if not kept:
            return
        first = lines.decode(kept[: kept.index(b"\n")])
        gone = first.sequence - 1
        words = f"lines 1 to {gone} are gone: a job's log holds at most {self._limit} bytes"
        marker = Line(gone, first.attempt, first.created_at, Draft(words, Level.WARNING))
        short = self._path.with_suffix(".part")
        short.write_bytes(lines.encode(marker) + kept)
        short.replace(self._path)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """Open it for reading; one that is not there is empty."""
        path = self._path if self._path.exists() else Path(os.devnull)
        with path.open("rb") as file:
            yield file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; OSError after a while, for its holder may be stopped."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("ab") as file:
            if not lock(file, seconds=_LOCK_SECONDS):
                raise BlockingIOError("another trainer holds the job's log and does not go on")
            yield


def _mend(path: Path) -> None:
    """Cut off the half of a line that a crash left."""
    if path.exists():
        with path.open("rb+") as file:
            size, end = file.seek(0, os.SEEK_END), _end(file)
            if end < size:
                file.truncate(end)


def _end(file: BinaryIO) -> int:
    """Give where the last whole line ends."""
    position = file.seek(0, os.SEEK_END)
    while position:
        block = min(_BLOCK, position)
        file.seek(position - block)
        if (found := file.read(block).rfind(b"\n")) >= 0:
            return position - block + found + 1
        position -= block
    return 0


def _behind(file: BinaryIO, sequence: int) -> int:
    """Give where the first line behind a sequence begins."""
    low, high = 0, _end(file)
    while high - low > _BLOCK:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        start = file.tell()
        text = _read_line(file) if start < high else b""
        if text and lines.decode(text).sequence <= sequence:
            low = start + len(text)
        else:
            high = middle + 1
    file.seek(low)
    while (text := _read_line(file)) and lines.decode(text).sequence <= sequence:
        low += len(text)
    return low


def _read_line(file: BinaryIO) -> bytes:
    """Give the next line, if it is whole."""
    text = file.readline()
    return text if text.endswith(b"\n") else b""


def _read_back(file: BinaryIO, start: int, end: int, count: int) -> list[bytes]:
    """Give the last whole lines between two line ends, some of them if they are large."""
    text, position = b"", end
    while position > start and text.count(b"\n") <= count and len(text) < PAGE_BYTES:
        block = min(_BLOCK, position - start)
        position -= block
        file.seek(position)
        text = file.read(block) + text
    texts = text.splitlines(keepends=True)
    return (texts[1:] if position > start else texts)[-count:]
