"""An attempt at a replay: it trains like any other, and judges where that one publishes."""

import asyncio
from datetime import UTC, datetime

from mlx_hub.internal.v1 import worker_pb2 as pb

from services.chassis.errors import FailedPrecondition
from services.runtime.folder import FileDigest, digest_of
from services.trainer import provenance, replay
from services.trainer.attempt import Attempt
from services.trainer.domain import TrainingJob
from services.trainer.originals import Originals, facts
from services.trainer.publication import Result
from services.trainer.registry import Inputs


class ReplayAttempt(Attempt):
    """Runs one claimed replay to the first loss that differs, or to its end."""

    _original: replay.Run
    _losses: dict[int, float]
    _started = pb.WorkerStarted()

    async def _find(self) -> Inputs:
        """Find the files, if they are the original's, and what both runs have stored so far."""
        inputs = await super()._find()
        originals = Originals(self._store, self._registry)
        of = self.job.replay_of or 0
        self._original = await self._insist(lambda: originals.find(of, inputs))
        self._losses = await self._insist(lambda: self._store.losses(self.job.id))
        return inputs

    def _command(self, inputs: Inputs) -> pb.TrainCommand:
        """Compute as the original did, let no step go by unheard, and ask for nothing else.

        A checkpoint may be ahead of the log.
        """
        command = super()._command(inputs)
        command.job.evaluate, command.job.samples = False, 0
        command.job.ClearField("sample_prompts")
        command.resume_at_most_step = replay.covered(self._losses)
        command.blas_threads = self._original.threads
        return command

    def _hear(self, event: pb.WorkerEvent) -> None:
        """Stop at the first difference: it is the answer, and what follows from it is not worth
        its time.
        """
        super()._hear(event)
        if event.HasField("started"):
            self._started = event.started
            # An attempt before may have died between a difference and the answer.
            self._compare(self._losses)
        elif event.HasField("step"):
            news = {event.step.step.step: event.step.step.loss}
            self._losses.update(news)
            self._compare(news)

    def _compare(self, losses: replay.Losses) -> None:
        if self.job.recipe.nonfinite_lr_factor:
            # Steps may come again, and only the last of each counts: known at the end.
            return
        original, total = self._original, self._started.total_steps
        parted = replay.parting(original.losses, original.total, losses, total)
        # A run that is shorter than the original is heard to its end.
        self._enough = parted is not None and parted.replayed is not None

    async def _train(
        self, group: asyncio.TaskGroup, inputs: Inputs
    ) -> Result | pb.WorkerFailed | str:
        """Train; a run that was stopped where it differs has an outcome too."""
        outcome = await super()._train(group, inputs)
        if self._enough:
            return Result(self._started, pb.WorkerFinished(), datetime.now(UTC))
        return outcome

    async def _publish(self, inputs: Inputs, code: provenance.Code, result: Result) -> TrainingJob:
        """Publish nothing: judge, unless a cancel came first."""
        files = [FileDigest(f.name, int(f.size_bytes), f.sha256) for f in result.finished.files]
        run = replay.Run(
            losses=self._losses,
            total=result.started.total_steps,
            digest=digest_of(tuple(files)) if files else "",
            files={file.name: file.sha256 for file in files},
            facts=facts(self.job, inputs, code, dict(result.started.environment)),
        )
        verdict = replay.judge(self._original, run)
        try:
            return await self._end(lambda: self._queue.answer(self._token, verdict))
        except FailedPrecondition:
            return await self._end(lambda: self._queue.cancelled(self._token))
