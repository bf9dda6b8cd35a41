"""Calls that bring files: piece by piece, after a loss from where it was, proven at the end."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from uuid import uuid4

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from mlx_hub.client.contract import Call
from mlx_hub.client.errors import DataLoss, HubError, Unavailable
from mlx_hub.client.retry import Patience
from mlx_hub.client.watch import ExportCursor
from mlx_hub.registry.v1.export_pb2 import VersionExport


@dataclass(frozen=True, slots=True)
class Download[R: Message]:
    """What there is to bring, and then each of its files; it lasts as long as they take."""

    ask: Call[R]
    files: Callable[[R], Iterable["Saving"]]
    timeout: float | None

    def deadline(self, said: float | None) -> float | None:
        """Seconds until the caller gives up: its own, else what `within` said, or never."""
        return said if self.timeout is None else self.timeout


@dataclass(frozen=True, slots=True)
class Export:
    """What the hub makes, and then each of its files."""

    cursor: ExportCursor
    files: Callable[[VersionExport], Iterable["Saving"]]


class Saving:
    """One file on its way to disk: under a name of its own until it is whole."""

    def __init__(
        self,
        call: Call[HttpBody],
        target: Path,
        size: int,
        sha256: str,
        tell: Callable[[int], object],
    ) -> None:
        self._call = call
        self._target = target
        self._part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
        self._size, self._sha256 = size, sha256
        self._tell = tell
        self._hash, self._received = hashlib.sha256(), 0
        self._patience = Patience()
        self._file: BinaryIO | None = None

    def call(self) -> Call[HttpBody]:
        """The call that goes on after the last byte that came."""
        return self._call.amended(offset=self._received)

    def accept(self, body: HttpBody) -> None:
        """Keep a piece."""
        self._patience.got()
        self._received += len(body.data)
        self._hash.update(body.data)
        self._opened().write(body.data)
        self._tell(self._received)

    def pause(self, error: HubError) -> float:
        """Seconds until the next try; raises the error when trying is over."""
        return self._patience.pause(error)

    def finish(self) -> None:
        """Put the file in its place, if it is whole and what the hub has on record."""
        if self._received < self._size:
            raise broken_off("the file's")
        if self._received > self._size or self._hash.hexdigest() != self._sha256:
            name = self._target.name
            text = f"{name} came as other bytes than the hub has on record; nothing is kept"
            raise DataLoss(text, reason="ARTIFACT_CORRUPT", metadata={"file": name})
        with self._opened() as file:
            file.flush()
            os.fsync(file.fileno())
        self._part.replace(self._target)
        _sync_folder(self._target.parent)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._part.open("xb")
        return self._file

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened().close()
        self._part.unlink(missing_ok=True)


def broken_off(whose: str) -> Unavailable:
    """The error of a stream that ended too early without saying why."""
    return Unavailable(f"the stream broke off before {whose} end", reason="TRUNCATED")


def _sync_folder(folder: Path) -> None:
    """Make a rename last; where a folder can't be opened, as on Windows, the system does it."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
