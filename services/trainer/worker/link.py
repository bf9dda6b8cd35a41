"""The child's end of the socket: commands come in on a small thread, events go out."""

import os
import threading

from mlx_hub.internal.v1 import worker_pb2 as pb

from services.runtime.frames import FrameError, Frames
from services.trainer import guard_messages, messages
from services.trainer.evaluations import evaluation_to_proto
from services.trainer.reports import Checkpoint, Evaluation, Guarded, Step, Validation
from services.trainer.worker.failures import Stopped, TrainingFailed


class Link:
    """Talks to the supervisor, and ends the process when the supervisor is gone."""

    def __init__(self, descriptor: int) -> None:
        self._frames = Frames.inherited(descriptor)
        self._stop: pb.StopCommand | None = None
        self._stopping = threading.Event()

    def receive_job(self) -> pb.TrainCommand:
        """Wait for the job, then listen for what else comes."""
        command = self._frames.read(pb.WorkerCommand)
        if command is None:
            raise SystemExit(0)
        threading.Thread(target=self._listen, name="commands", daemon=True).start()
        return command.train

    def poll(self, step: int) -> None:
        """Raise Stopped if the supervisor asked for it."""
        if self._stop is not None:
            raise Stopped(step)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the supervisor asks for a stop."""
        self._stopping.wait(seconds)

    @property
    def saves_checkpoint(self) -> bool:
        """Tell whether the stop asked for a checkpoint."""
        return self._stop is not None and self._stop.save_checkpoint

    def started(self, started: pb.WorkerStarted) -> None:
        """Tell what is about to run."""
        self._send(pb.WorkerEvent(started=started))

    def step(self, step: Step, seconds: float, tokens: int) -> None:
        """Tell of a step."""
        message = messages.step_to_proto(step)
        self._send(pb.WorkerEvent(step=pb.WorkerStep(step=message, seconds=seconds, tokens=tokens)))

    def validation(self, validation: Validation) -> None:
        """Tell of a validation."""
        self._send(pb.WorkerEvent(validation=messages.validation_to_proto(validation)))

    def checkpoint(self, checkpoint: Checkpoint, seconds: float) -> None:
        """Tell of a checkpoint."""
        message = messages.checkpoint_to_proto(checkpoint)
        saved = pb.WorkerCheckpoint(checkpoint=message, seconds=seconds)
        self._send(pb.WorkerEvent(checkpoint=saved))

    def report(self, report: Guarded) -> None:
        """Tell what a guard did."""
        self._send(guard_messages.to_worker_event(report))

    def evaluation(self, evaluation: Evaluation) -> None:
        """Tell of an evaluation."""
        self._send(pb.WorkerEvent(evaluation=evaluation_to_proto(evaluation)))

    def finished(self, finished: pb.WorkerFinished) -> None:
        """Tell that the adapter lies in its place."""
        self._send(pb.WorkerEvent(finished=finished))

    def failed(self, failure: TrainingFailed) -> None:
        """Tell that no other attempt could succeed."""
        failed = pb.WorkerFailed(reason=failure.reason, message=failure.message)
        self._send(pb.WorkerEvent(failed=failed))

    def stopped(self, step: int) -> None:
        """Tell that the run stopped as asked."""
        self._send(pb.WorkerEvent(stopped=pb.WorkerStopped(step=step)))

    def _send(self, event: pb.WorkerEvent) -> None:
        try:
            self._frames.write(event)
        except OSError:
            os._exit(1)

    def _listen(self) -> None:
        """Read commands until the socket closes; without a supervisor there is nothing to do.

        Checkpoints and adapters appear by a rename, so the process may end anywhere.
        """
        try:
            while (command := self._frames.read(pb.WorkerCommand)) is not None:
                if command.HasField("stop"):
                    self._stop = command.stop
                    self._stopping.set()
        except (OSError, FrameError):
            pass
        os._exit(1)
