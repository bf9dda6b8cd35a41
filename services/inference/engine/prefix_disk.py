"""Blocks of the prefix cache on disk: one safetensors file each, named by its key.

Files are an offer, not a store: whatever is not exactly what was written counts as missing and is
removed, and the least lately used go when the folder is full. Writing has a thread of its own.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.inference.prefix_files import SUFFIX, files_in, remove, remove_files

log = logging.getLogger(__name__)

# Blocks that may wait for the disk's thread; each is a copy beside the cache's own.
QUEUED = 8
_LONGEST_HEAD = 1_000_000
_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "U32": 4}

type Raw = list[tuple[bytes, bytes]]
"""Of each layer, or part of a quantised one: keys and values as bytes, (1, heads, tokens, width) in
row-major order."""


@dataclass(frozen=True)
class Layer:
    """The shape of keys and values in a layer, or a part of one, and the name of their type."""

    heads: int
    key_width: int
    value_width: int
    dtype: str


type Layout = tuple[Layer, ...]


class Disk:
    """The files of one base model, in a folder beside those of the others."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take the folder, and the most bytes that it and its neighbours may have together."""
        self._folder = folder
        self._limit = limit
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(QUEUED)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob(".*"):  # a write that was cut off
            left.unlink(missing_ok=True)
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Tell whether `write` would wait."""
        return self._queue.full()

    def read(self, key: bytes, layout: Layout, tokens: int) -> Raw | None:
        """Give a block, or None where it is missing or not what was written."""
        path, size = self._path(key), _size(layout, tokens)
        try:
            with path.open("rb") as file:
                data = file.read(size + _LONGEST_HEAD)
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("a file of the prefix cache can't be read: %s", error)
            return None
        body = data[-size:]
        # Nothing of the file is believed: it is what would be written, byte by byte, or no use.
        if data[:-size] != _head(key, layout, tokens, body):
            log.warning("a file of the prefix cache is not what was written; it is removed")
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return _split(body, layout, tokens)

    def write(self, key: bytes, layout: Layout, raw: Raw) -> None:
        """Write a block soon; waits while too many wait already."""
        self._queue.put(lambda: self._write(key, layout, raw))

    def clear(self, cleared: Callable[[int], None]) -> None:
        """Remove all files soon; `cleared` is told their bytes, on the disk's thread."""
        self._queue.put(lambda: cleared(remove_files(self._folder.parent, self._folder.name)[0]))

    def drain(self) -> None:
        """Wait until all that was asked for is done."""
        self._queue.join()

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            try:
                work()
            except OSError as error:
                log.warning("the prefix cache's disk: %s", error)
            finally:
                self._queue.task_done()

    def _write(self, key: bytes, layout: Layout, raw: Raw) -> None:
        path = self._path(key)
        body = b"".join(part for pair in raw for part in pair)
        data = _head(key, layout, len(body) // _size(layout, 1), body) + body
        if path.exists() or len(data) > self._limit:
            return
        if not self._make_room(len(data)):
            return
        unfinished = path.with_name(f".{path.name}")
        try:
            unfinished.write_bytes(data)
            unfinished.chmod(0o600)
            unfinished.rename(path)
        except OSError:  # a full disk, which must not be filled further by what no bound counts
            unfinished.unlink(missing_ok=True)
            raise

    def _make_room(self, size: int) -> bool:
        files = sorted(files_in(self._folder.parent), key=lambda file: file.used)
        total = sum(file.size for file in files) + size
        for file in files:
            if total <= self._limit:
                break
            total -= file.size if remove(file) else 0
        return total <= self._limit

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}{SUFFIX}"


def _head(key: bytes, layout: Layout, tokens: int, body: bytes) -> bytes:
    """Write what stands before the data in a safetensors file."""
    notes = {"key": key.hex(), "sha256": hashlib.sha256(body).hexdigest()}
    header: dict[str, object] = {"__metadata__": notes}
    start = 0
    for n, layer in enumerate(layout):
        for name, width in (("keys", layer.key_width), ("values", layer.value_width)):
            shape = (1, layer.heads, tokens, width)
            end = start + math.prod(shape) * _WIDTHS[layer.dtype]
            entry = {"dtype": layer.dtype, "shape": shape, "data_offsets": [start, end]}
            header[f"{n}.{name}"] = entry
            start = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def _split(body: bytes, layout: Layout, tokens: int) -> Raw:
    parts, start = list[tuple[bytes, bytes]](), 0
    for layer in layout:
        unit = layer.heads * tokens * _WIDTHS[layer.dtype]
        middle = start + unit * layer.key_width
        end = middle + unit * layer.value_width
        parts.append((body[start:middle], body[middle:end]))
        start = end
    return parts


def _size(layout: Layout, tokens: int) -> int:
    widths = ((a.key_width + a.value_width) * a.heads * _WIDTHS[a.dtype] for a in layout)
    return tokens * sum(widths)
