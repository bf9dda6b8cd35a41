"""Work that what came from outside may make endless, done by a process that may be ended.

The kernel ends that process when one piece of work takes too long, whatever it is doing, and
refuses it memory. One JSON object a line goes in, and one comes out.
"""

import contextlib
import json
import logging
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from services.chassis import children

log = logging.getLogger(__name__)

CPU_SECONDS = 1.0
MEMORY_BYTES = 2 << 30
# Enough for every request that the contract lets in, and for its rendering, written as JSON.
_MAX_LINE = 64 << 20


class BrokenBounds(Exception):
    """The process ended over what it was asked."""


class Bounded:
    """A process that does one kind of work; started when first needed, and again once it ended."""

    def __init__(self, module: str, verb: str) -> None:
        """Take what it runs, which calls `serve`, and a word for what that does."""
        self._module = module
        self._verb = verb
        self._child: _Child | None = None

    def start(self) -> None:
        """Start the process unless it runs; it is ready a moment later."""
        if self._child is None:
            self._child = _Child(self._module)

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Give the answer to one question; raises BrokenBounds with the reason."""
        child = self._child = self._child or _Child(self._module)
        line = child.exchange(json.dumps(asked, default=str).encode() + b"\n")
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.close()
        self.start()
        if child.code == -signal.SIGPROF:
            log.warning("a process was ended: it took too long to %s", self._verb)
            raise BrokenBounds(f"it takes too long to {self._verb}")
        log.error("a process that was to %s ended with %s", self._verb, child.code)
        raise BrokenBounds(f"the process that was to {self._verb} it failed")

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
            self._child = None


class _Child:
    """One run of the process; it ends when its link is closed."""

    def __init__(self, module: str) -> None:
        self._link, theirs = socket.socketpair()
        self._lines = self._link.makefile("rb")
        quiet = {"TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env=children.environment(**quiet),
            )

    @property
    def code(self) -> int | None:
        """How it ended."""
        return self._process.returncode

    def exchange(self, line: bytes) -> bytes:
        """Send a line and give the answer's, or less than a line where the process ended."""
        try:
            self._link.sendall(line)
            return self._lines.readline(_MAX_LINE)
        except OSError:
            return b""

    def close(self) -> None:
        self._lines.close()
        self._link.close()
        self._process.wait()


def serve(work: Callable[[dict[str, Any]], dict[str, str]]) -> None:
    """Answer in the process itself, until the engine goes."""
    with contextlib.suppress(ValueError, OSError):  # not every system bounds memory like this
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        # Nothing handles the signal: it ends the process, in the middle of a C function, too.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        answer = work(asked)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()
