"""When a failed call is worth repeating, and after how long."""

import time
from typing import TypedDict

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
_back_off = wait_exponential_jitter(multiplier=0.1, max=5.0, jitter=0.1)


class Policy(TypedDict):
    """The keyword arguments of tenacity's Retrying and AsyncRetrying."""

    retry: retry_base
    stop: stop_base
    wait: wait_base
    reraise: bool


def is_transient(error: BaseException) -> bool:
    """Whether the same request may work later: a full hub says when, or it will stay full."""
    if isinstance(error, Exhausted):
        return error.retry_after is not None
    return isinstance(error, Unavailable)


class _Wait(wait_base):
    """Back-off, but never less than the hub asked for."""

    def __call__(self, retry_state: RetryCallState) -> float:
        outcome = retry_state.outcome
        error = outcome.exception() if outcome else None
        asked = error.retry_after if isinstance(error, HubError) else None
        return max(asked or 0.0, _back_off(retry_state))


def policy(repeatable: bool, budget: float | None) -> Policy:
    """Repeat what the contract calls idempotent, as long as the caller's time lasts."""
    stop: stop_base = stop_after_attempt(ATTEMPTS)
    if budget is not None:
        stop |= stop_before_delay(budget)
    retry = retry_if_exception(is_transient) if repeatable else retry_never
    return Policy(retry=retry, stop=stop, wait=_Wait(), reraise=True)


class Budget:
    """What is left of a deadline, so that repeats don't prolong it."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds left; never negative, so that grpc itself reports the timeout."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
