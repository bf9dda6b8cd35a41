"""What a request hears of an engine that can't serve it."""

from services.chassis.errors import HubError, Unavailable
from services.inference.domain import Base


def start_failed(base: Base, why: str, retry_after_s: float = 1) -> HubError:
    """Give the error of an engine that can't serve."""
    return Unavailable(
        "ENGINE_START_FAILED",
        why,
        metadata={"base_model": base.name},
        retry_after_s=retry_after_s,
    )


def died(base: Base) -> HubError:
    """Give the error of an engine that ended under a request."""
    return Unavailable(
        "ENGINE_DIED",
        "the engine that worked on this ended; send the request again",
        metadata={"base_model": base.name},
        retry_after_s=1,
    )


def stalled(base: Base, seconds: float) -> HubError:
    """Give the error of an engine that was ended for want of progress."""
    return Unavailable(
        "ENGINE_STALLED",
        f"the engine that worked on this made no progress for {seconds:g} s and was ended; "
        "send the request again",
        metadata={"base_model": base.name, "seconds": f"{seconds:g}"},
        retry_after_s=1,
    )
