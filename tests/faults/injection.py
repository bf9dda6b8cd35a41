"""Makes the n-th write of a run fail, or ends the run there. Production code has no hook for it.

What counts are the calls that change a disk or commit a transaction, made by code of services/.
An edge is named by the functions on the way to the call. EIO comes once, as a bad sector does;
ENOSPC lasts until the run ends, as a full disk does, for what needs space.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import psycopg
import pytest

EIO, ENOSPC, KILL = "EIO", "ENOSPC", "kill"
KINDS = (EIO, ENOSPC, KILL)
# After the commit, but before its answer arrives: for the caller as if nothing had happened.
LOST = "answer lost"
TAKING = ("fsync", "replace", "rename", "link", "mkdir", "unlink", "rmdir")
# Every transition goes through these: they name none.
ON_THE_WAY = ("store.py:transaction", "queue.py:_change")
# SQLAlchemy commits a session on a task of its own, which has no caller.
SESSION = "a session's"
SPACE = ("mkdir", "link", "open", "write", "save_safetensors", "fsync", "COMMIT")


class Killed(BaseException):
    """The process is gone: nothing after it happens, not even cleaning up."""


class Faults:
    """Counts the edges of a run and strikes at one of them."""

    def __init__(
        self,
        kind: str = "",
        number: int = 0,
        within: Collection[str] = (),
        kill: Callable[[], None] | None = None,
    ) -> None:
        """Strike at the n-th edge below these functions; 0 strikes nowhere."""
        self.kind = kind
        self.number = number
        self.seen: list[str] = []
        self.hit: str | None = None
        self._within = frozenset(within)
        self._kill = kill
        self._dead = False

    def strikes(self, call: str) -> bool:
        """Count an edge; tell whether it is to fail."""
        if self._dead:
            raise Killed
        if (place := self._place(call)) is None:
            return False
        self.seen.append(f"{place} {call}")
        if len(self.seen) == self.number:
            self.hit = self.seen[-1]
            return True
        full = self.kind == ENOSPC and self.hit is not None
        return full and call in SPACE

    def strike(self, path: object = None) -> None:
        """Fail as the kind says."""
        if self.kind == KILL:
            self.die()
        number = errno.ENOSPC if self.kind == ENOSPC else errno.EIO
        raise OSError(number, os.strerror(number), str(path))

    def die(self) -> None:
        """End the process, or all that this run would still write."""
        if self._kill is not None:
            self._kill()
        self._dead = True
        raise Killed

    def _place(self, call: str) -> str | None:
        """Name the innermost functions of services/ on the stack, if they are of this run."""
        names: list[str] = []
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if "/services/" in code.co_filename and "/chassis/" not in code.co_filename:
                name = f"{os.path.basename(code.co_filename)}:{code.co_name}"  # noqa: PTH119
                names += [] if name in ON_THE_WAY else [name]
            frame = frame.f_back  # type: ignore[assignment]
        if not names and call == "COMMIT":
            return SESSION
        if not names or (self._within and self._within.isdisjoint(names)):
            return None
        return " < ".join(dict.fromkeys(names[:2]))


class Written:
    """A file whose writes are edges; the one that fails leaves half of its bytes."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, data: Any) -> Any:
        if self._faults.strikes("write"):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            self._faults.strike(self._file.name)
        return self._file.write(data)

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def injected(faults: Faults) -> Iterator[Faults]:
    """Put the faults between this process and its disk and database."""
    with ExitStack() as stack:

        def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
            stack.enter_context(mock.patch.object(owner, name, make(getattr(owner, name))))

        for name in TAKING:
            replace(os, name, lambda real, name=name: _taking(real, name, faults))  # type: ignore[misc]
        replace(io, "open", lambda real: _opening(real, faults))
        if core := sys.modules.get("mlx.core"):
            replace(core, "save_safetensors", lambda real: _saving(real, faults))
        replace(psycopg.AsyncConnection, "commit", lambda real: _committing(real, faults))
        yield faults


def _taking(real: Any, name: str, faults: Faults) -> Any:
    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        if faults.strikes(name):
            faults.strike(path)
        return real(path, *args, **kwargs)

    return call


def _opening(real: Any, faults: Faults) -> Any:
    def call(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode.strip("rbt") == "":
            return real(path, mode, *args, **kwargs)
        if faults.strikes("open"):
            faults.strike(path)
        return Written(real(path, mode, *args, **kwargs), faults)

    return call


def _saving(real: Any, faults: Faults) -> Any:
    """Fail as MLX does: half a file, and an error that does not say why."""

    def call(path: str, *args: Any, **kwargs: Any) -> None:
        if not faults.strikes("save_safetensors"):
            real(path, *args, **kwargs)
            return
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"\x10\0\0\0\0\0\0\0half of it")
        os.close(descriptor)
        if faults.kind == KILL:
            faults.die()
        raise RuntimeError("[save_safetensors] Failed to write")

    return call


def _committing(real: Any, faults: Faults) -> Any:
    async def commit(connection: Any) -> None:
        if not faults.strikes("COMMIT"):
            await real(connection)
            return
        if faults.kind == ENOSPC:
            await connection.rollback()
            raise psycopg.errors.DiskFull("could not extend file: No space left on device")
        if faults.kind.startswith(LOST):
            await real(connection)
        connection.pgconn.finish()
        if KILL in faults.kind:
            faults.die()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    return commit


def tell(capsys: pytest.CaptureFixture[str], hits: Iterable[tuple[str, str]]) -> None:
    """Print each edge that was hit, with its kinds."""
    kinds: dict[str, set[str]] = {}
    for edge, kind in hits:
        kinds.setdefault(edge, set()).add(kind)
    with capsys.disabled():
        for edge in sorted(kinds):
            print(f"  {edge}: {', '.join(sorted(kinds[edge]))}", file=sys.stderr)
