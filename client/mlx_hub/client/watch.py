"""The place in a job's event stream, so that a lost connection neither skips nor doubles one."""

import time

from mlx_hub.client.contract import Call
from mlx_hub.client.errors import HubError, from_status
from mlx_hub.client.retry import RECONNECT_SECONDS, is_transient
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class WatchCursor:
    """Says what to ask for next, which frames are new, and how long to pause after a loss."""

    def __init__(self, call: Call[TrainingEvent]) -> None:
        self._call = call
        self._last: int | None = None
        self._lost_at: float | None = None
        self._pause = _FIRST_PAUSE

    def call(self) -> Call[TrainingEvent]:
        """The call that goes on where the last frame was."""
        return self._call if self._last is None else self._call.amended(after_sequence=self._last)

    def accept(self, event: TrainingEvent) -> TrainingEvent | None:
        """Return the event if the caller has not seen it; raise what an error frame holds."""
        if event.WhichOneof("event") == "error":
            raise from_status(event.error)
        self._lost_at, self._pause = None, _FIRST_PAUSE
        # A resumed stream opens with the job's state under the sequence it resumes from.
        if self._last is not None and event.sequence <= self._last:
            return None
        self._last = event.sequence
        return event

    def pause(self, error: HubError) -> float:
        """Seconds until the next try; raises the error when trying is over."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        # Without a first frame there is nothing to resume: fail as soon as a unary call would.
        patience = 1.0 if self._last is None else RECONNECT_SECONDS
        if not is_transient(error) or now - self._lost_at >= patience:
            raise error
        pause = max(self._pause, error.retry_after or 0.0)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause
