"""Follows one answer, and has its beginning and its end written down."""

import hashlib
import time
from types import TracebackType
from typing import Self

from services.chassis.errors import DeadlineExceeded, HubError, Internal, Unavailable
from services.inference.domain import Answer, Course, Delta, Finished, Generation, Outcome, Target
from services.inference.journal import Journal
from services.inference.record_messages import entry_of

# No engine worked on these, though it may be the service's own fault.
_REFUSALS = frozenset({"SHUTTING_DOWN", "ENGINE_START_FAILED"})


class Recording:
    """A generation between its beginning and its end: `with Recording(…) as r: r.saw(frame)`.

    It is written down with its first frame, so that a crash leaves a trace of what was sent, and
    again at its end. A request that was refused is not, nor one that was given up in the line:
    those of an overloaded service would push the answers out of the journal.
    """

    def __init__(self, journal: Journal, target: Target, generation: Generation, at: float) -> None:
        """Take what answers what; `at` is when the request came, on the monotonic clock."""
        self._journal = journal
        self._target = target
        self._generation = generation
        self._at = at
        self._started_at = time.time() - (time.monotonic() - at)
        self._text = hashlib.sha256()
        self._bytes = 0
        self._tokens = 0
        self._ttft_ms = 0.0
        self._finished: Finished | None = None
        self._begun = False

    def begin(self) -> None:
        """Hear that an engine has the request; before, one that is given up leaves no record."""
        self._begun = True

    def __enter__(self) -> Self:
        """Begin to follow."""
        return self

    def saw(self, frame: Delta | Answer) -> None:
        """Take note of a frame before it is passed on."""
        self._begun, first = True, not self._ttft_ms
        self._ttft_ms = self._ttft_ms or self._since()
        if isinstance(frame, Answer):
            self._finished = frame.finished
            return
        text = frame.text.encode()
        self._text.update(text)
        self._bytes += len(text)
        self._tokens = frame.tokens
        if first:
            self._write(Outcome.RUNNING)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write down how it ended; an error that is recorded names the generation."""
        if self._finished:
            self._write(Outcome.FINISHED)
        elif not isinstance(error, Exception) or isinstance(error, DeadlineExceeded):
            if self._begun:
                self._write(Outcome.CANCELLED)
                self._name_in(error)
        elif self._ttft_ms or not _refused(error):
            self._write(Outcome.FAILED, error.reason if isinstance(error, HubError) else "INTERNAL")
            self._name_in(error)

    def _name_in(self, error: BaseException | None) -> None:
        if isinstance(error, HubError):
            error.metadata["generation_id"] = self._generation.id

    def _write(self, outcome: Outcome, reason: str = "") -> None:
        finished = self._finished
        latency = self._since()
        course = Course(
            target=self._target,
            generation=self._generation,
            outcome=outcome,
            error_reason=reason,
            finished=finished,
            text_digest=self._text.hexdigest(),
            text_bytes=self._bytes,
            tokens=finished.tokens if finished else self._tokens,
            ttft_ms=self._ttft_ms,
            latency_ms=latency,
            started_at=self._started_at,
            ended_at=None if outcome is Outcome.RUNNING else self._started_at + latency / 1000,
        )
        self._journal.write(lambda: entry_of(course))

    def _since(self) -> float:
        return (time.monotonic() - self._at) * 1000


def _refused(error: Exception) -> bool:
    """Tell whether a request ended before an engine worked on it."""
    if not isinstance(error, HubError):
        return False
    return error.reason in _REFUSALS or not isinstance(error, Internal | Unavailable)
