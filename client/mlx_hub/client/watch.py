"""The place in a stream, so that a lost connection neither skips nor doubles anything."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from mlx_hub.client.contract import Call
from mlx_hub.client.errors import HubError, from_status
from mlx_hub.client.retry import Patience
from mlx_hub.registry.v1.export_pb2 import ExportEvent, VersionExport
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_log_pb2 import TrainingLogEvent, TrainingLogLine

type Frame = TrainingEvent | TrainingLogEvent | ExportEvent


class Cursor[F: Frame, I](ABC):
    """Says what to ask for next, which frames are new, and how long to pause after a loss."""

    def __init__(self, call: Call[F]) -> None:
        self._call = call
        self._last: int | None = None
        self._patience = Patience()

    def call(self) -> Call[F]:
        """The call that goes on where the last frame was."""
        return self._call if self._last is None else self._resumed(self._last)

    def accept(self, frame: F) -> I | None:
        """Return what the caller has not seen; raise what an error frame holds."""
        if frame.WhichOneof("event") == "error":
            raise from_status(frame.error)
        self._patience.got()
        return self._fresh(frame)

    def pause(self, error: HubError) -> float:
        """Seconds until the next try; raises the error when trying is over."""
        return self._patience.pause(error)

    def _resumed(self, last: int) -> Call[F]:
        return self._call.amended(after_sequence=last)

    @abstractmethod
    def _fresh(self, frame: F) -> I | None:
        """Return what a frame brings, unless it came before."""


class WatchCursor(Cursor[TrainingEvent, TrainingEvent]):
    """The place in a job's events."""

    def _fresh(self, frame: TrainingEvent) -> TrainingEvent | None:
        # A resumed stream opens with the job's state under the sequence it resumes from.
        if self._last is not None and frame.sequence <= self._last:
            return None
        self._last = frame.sequence
        return frame


class LogCursor(Cursor[TrainingLogEvent, TrainingLogLine]):
    """The place in a job's log; its last frame, the ended job, brings no line."""

    def _resumed(self, last: int) -> Call[TrainingLogEvent]:
        # How many lines to begin with is the first call's business.
        return self._call.without("lines").amended(after_sequence=last)

    def _fresh(self, frame: TrainingLogEvent) -> TrainingLogLine | None:
        if not frame.HasField("line") or frame.line.sequence <= (self._last or 0):
            return None
        self._last = frame.line.sequence
        return frame.line


class ExportCursor(Cursor[ExportEvent, VersionExport]):
    """The steps of an export, which ends with it; asked for again, the hub goes on or has it."""

    def __init__(
        self, call: Call[ExportEvent], on_step: Callable[[str], object] | None = None
    ) -> None:
        super().__init__(call)
        self._on_step = on_step
        self._told: list[str] = []

    def _fresh(self, frame: ExportEvent) -> VersionExport | None:
        if frame.HasField("export"):
            return frame.export
        if self._on_step and frame.progress.step not in self._told:
            self._told.append(frame.progress.step)
            self._on_step(frame.progress.step)
        return None
