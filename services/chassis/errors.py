"""Errors as the domain raises them: a kind, a reason name, and the facts of the message."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One field that breaks its bound, and what to do about it."""

    field: str
    description: str


class HubError(Exception):
    """A failure that the caller should understand; an interceptor gives it its status.

    `reason` is an `ErrorReason` name without its prefix. `metadata` holds every
    variable of the message. The message is for people and holds no path of the node.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        field: str | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        if field is not None:
            violations = (Violation(field, message), *violations)
            self.metadata.setdefault("field", field)
        self.violations = violations
        self.retry_after_s = retry_after_s


class NotFound(HubError):
    """The thing named does not exist."""


class AlreadyExists(HubError):
    """The name or request id is taken."""


class Invalid(HubError):
    """The request is wrong whatever the state; `violations` name its fields."""


class FailedPrecondition(HubError):
    """The state forbids it; retrying without a change won't help."""


class Aborted(HubError):
    """Somebody else was faster."""


class Exhausted(HubError):
    """No room now: queue, memory or disk."""


class Unavailable(HubError):
    """Not able to answer now; a retry may succeed."""


class DeadlineExceeded(HubError):
    """The caller's time was up before the work was done."""


class DataLoss(HubError):
    """Stored bytes are not what was recorded."""


class Internal(HubError):
    """A fault of ours."""


def reader_too_slow() -> HubError:
    """Give the error of a stream whose reader is too far behind."""
    return Exhausted(
        "READER_TOO_SLOW", "the stream was not read for too long; ask again and read as it comes"
    )
