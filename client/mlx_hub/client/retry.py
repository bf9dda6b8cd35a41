"""When a failed call is worth repeating, and after how long."""

import time
from typing import TypedDict

from google.protobuf.message import Message
from mlx_hub.client.contract import Call
from mlx_hub.client.errors import Exhausted, HubError, Unavailable
from tenacity import (
    RetryCallState,
    retry_if_exception,
    retry_never,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

ATTEMPTS = 4
#: How long a watch keeps trying to come back after it lost the hub.
RECONNECT_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_back_off = wait_exponential_jitter(multiplier=0.1, max=5.0, jitter=0.1)


class Policy(TypedDict):
    """The keyword arguments of tenacity's Retrying and AsyncRetrying."""

    retry: retry_base
    stop: stop_base
    wait: wait_base
    reraise: bool


def is_transient(error: BaseException) -> bool:
    """Whether the same request may work later: a full hub says when, or it will stay full."""
    return isinstance(error, Unavailable) or is_turned_away(error)


def is_turned_away(error: BaseException) -> bool:
    """Whether a full hub did nothing and said when to come back: then any call may be repeated."""
    return isinstance(error, Exhausted) and error.retry_after is not None


class _Wait(wait_base):
    """Back-off, but never less than the hub asked for."""

    def __call__(self, retry_state: RetryCallState) -> float:
        outcome = retry_state.outcome
        error = outcome.exception() if outcome else None
        asked = error.retry_after if isinstance(error, HubError) else None
        return max(asked or 0.0, _back_off(retry_state))


def policy(call: Call[Message], budget: float | None) -> Policy:
    """Repeat what was surely not done, or what the contract calls idempotent, while time lasts."""
    stop: stop_base = stop_after_attempt(ATTEMPTS)
    if budget is not None:
        stop |= stop_before_delay(budget)
    worth = retry_if_exception(is_transient if call.repeatable else is_turned_away)
    retry = worth if call.resendable else retry_never
    return Policy(retry=retry, stop=stop, wait=_Wait(), reraise=True)


class Patience:
    """How long to pause after a stream was lost, and when trying is over."""

    def __init__(self) -> None:
        self._begun = False
        self._lost_at: float | None = None
        self._pause = _FIRST_PAUSE

    def got(self) -> None:
        """Something came: whatever was lost before is made good."""
        self._begun = True
        self._lost_at, self._pause = None, _FIRST_PAUSE

    def pause(self, error: HubError) -> float:
        """Seconds until the next try; raises the error when trying is over."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        # Without a first frame there is nothing to resume: fail as soon as a unary call would.
        patience = RECONNECT_SECONDS if self._begun else 1.0
        if not is_transient(error) or now - self._lost_at >= patience:
            raise error
        pause = max(self._pause, error.retry_after or 0.0)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause


class Budget:
    """What is left of a deadline, so that repeats don't prolong it."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def pause(self, seconds: float) -> float:
        """As long a pause as was meant, if there is time for it."""
        left = self.left()
        return seconds if left is None else min(seconds, left)

    def left(self) -> float | None:
        """Seconds left; never negative, so that grpc itself reports the timeout."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
