"""One attempt at a job: its inputs found, a child trained, the adapter published, the end written.

Three things happen at once: the heartbeat keeps the lease and hears of a cancel, the recorder
writes what the child reports, and the attempt itself goes on. When a newer claim exists, whatever
writes next raises STALE_ATTEMPT, and all three end and the child dies.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from mlx_hub.internal.v1 import worker_pb2 as pb
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from services.chassis.errors import Aborted, FailedPrecondition, HubError, Internal, Unavailable
from services.trainer import guard_messages, messages, metrics, provenance
from services.trainer.child import Child
from services.trainer.domain import TrainingJob
from services.trainer.evaluations import evaluation_from_proto
from services.trainer.events import Event
from services.trainer.history import attempts_of
from services.trainer.joblog.journal import Journal
from services.trainer.joblog.lines import Level
from services.trainer.joblog.sayings import saying
from services.trainer.planner import Planner
from services.trainer.publication import Result, publication_of
from services.trainer.queue import Bell, JobQueue
from services.trainer.recorder import Recorder
from services.trainer.registry import Inputs, Registry
from services.trainer.reports import Progress
from services.trainer.store import JobStore
from services.trainer.workspace import Workspace

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 3.0
# How long a cancelled child may take to end by itself.
CANCEL_SECONDS = 1.0


class Attempt:
    """Runs one claimed job to the end of the attempt."""

    def __init__(
        self,
        job: TrainingJob,
        *,
        queue: JobQueue,
        store: JobStore,
        bell: Bell,
        registry: Registry,
        planner: Planner,
        workspace: Workspace,
        stop_seconds: float,
        cooldown: pb.CooldownPolicy | None = None,
    ) -> None:
        """Take a fresh claim."""
        self.job = job
        self._token = job.token
        self._queue = queue
        self._store = store
        self._bell = bell
        self._registry = registry
        self._planner = planner
        self._workspace = workspace
        self._stop_seconds = stop_seconds
        self._cooldown = cooldown
        self._interrupted = asyncio.Event()
        self._saves = True
        self._enough = False  # nothing more need be heard of the child
        self._recorder = Recorder(job.progress, self._record)
        self._journal = Journal(workspace.logs, job.id, job.attempt)
        self._helpers: list[asyncio.Task[None]] = []

    def interrupt(self, *, save_checkpoint: bool = True) -> None:
        """Ask for an early end: the job is cancelled if that was asked for, else handed back."""
        self._saves = save_checkpoint
        self._interrupted.set()

    async def run(self) -> TrainingJob | None:
        """Give the job as it was left, or None when it is not ours any more."""
        ended: TrainingJob | None = None
        self._journal.say(f"attempt {self.job.attempt} begins")
        try:
            async with asyncio.TaskGroup() as group:
                self._helpers.append(group.create_task(self._beat()))
                self._helpers.append(group.create_task(self._recorder.run()))
                self._helpers.append(group.create_task(self._journal.run()))
                try:
                    ended = await self._go(group)
                finally:
                    self._dismiss()
        except* (Aborted, Unavailable) as errors:
            # Somebody else has the job, or will have it once the lease runs out.
            log.warning("%s is given up: %s", self._name, errors.exceptions)
            metrics.LOST_LEASES.inc()
            why = "; ".join(str(error) for error in errors.exceptions)
            self._journal.say(f"the trainer gives this attempt up: {why}", Level.WARNING)
        except* Exception:
            self._journal.say("a fault in the trainer ends this attempt", Level.ERROR)
            raise
        finally:
            await self._journal.close()
        return ended

    async def _go(self, group: asyncio.TaskGroup) -> TrainingJob:
        """Do the work and write how it ended."""
        try:
            inputs = await self._find()
            code = await asyncio.to_thread(provenance.inspect)
            outcome = await self._train(group, inputs)
            if isinstance(outcome, Result):
                return await self._publish(inputs, code, outcome)
            if isinstance(outcome, pb.WorkerFailed):
                return await self._fail(outcome.reason, outcome.message)
        except Aborted:
            raise
        except (Unavailable, Internal) as error:
            outcome = error.message
        except HubError as error:
            return await self._fail(error.reason, error.message)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return await self._fail("DISK_FULL", "the data volume is full; free space and retrain")
        if self._interrupted.is_set():
            self._journal.say(f"{outcome}; the attempt was stopped")
            return await self._end(lambda: self._queue.hand_back(self._token))
        metrics.LOST.inc()
        log.error("%s: %s", self._name, outcome)
        self._journal.say(f"the attempt is lost: {outcome}", Level.ERROR)
        message = f"{outcome} (its log has more)"
        return await self._end(lambda: self._queue.lose(self._token, message))

    async def _find(self) -> Inputs:
        return await self._insist(
            lambda: self._registry.inputs(self.job.model_id, self.job.dataset_id)
        )

    async def _train(
        self, group: asyncio.TaskGroup, inputs: Inputs
    ) -> Result | pb.WorkerFailed | str:
        """Run a child to its end; a text tells how it died or stopped."""
        self._workspace.prepare(self.job)
        add = self._recorder.add
        lease = await self._planner.enter(self.job, inputs, self._interrupted, add)
        if lease is None:
            return "stopped before the training process began"
        with self._journal.open_output() as output:
            child = await Child.spawn(self._command(inputs), output, lease)
        self._helpers.append(group.create_task(self._stop_when_interrupted(child)))
        started, last, grace = pb.WorkerStarted(), pb.WorkerEvent(), 0.0
        try:
            async for event in child.events():
                last = event
                if event.HasField("step"):
                    lease.settle()
                if event.HasField("started"):
                    started = event.started
                self._hear(event)
                if self._enough:
                    child.kill()
                    break
            await self._recorder.flush()
            grace = self._stop_seconds
        finally:
            how = await child.end(grace)
        match last.WhichOneof("event"):
            case "finished":
                return Result(started, last.finished, datetime.now(UTC))
            case "failed":
                return last.failed
        return how

    def _hear(self, event: pb.WorkerEvent) -> None:
        if words := saying(event):
            self._journal.say(*words)
        match event.WhichOneof("event"):
            case "started":
                self._recorder.start(messages.progress_from_proto(event.started.progress))
            case "step":
                step = messages.step_from_proto(event.step.step)
                metrics.stepped(step, event.step.seconds, event.step.tokens)
                self._recorder.add(step)
            case "validation":
                validation = messages.validation_from_proto(event.validation)
                metrics.VALIDATION_LOSS.set(validation.val_loss)
                self._recorder.add(validation)
            case "checkpoint":
                metrics.CHECKPOINT_SECONDS.observe(event.checkpoint.seconds)
                self._recorder.add(messages.checkpoint_from_proto(event.checkpoint.checkpoint))
            case "evaluation":
                self._recorder.add(evaluation_from_proto(event.evaluation))
        if report := guard_messages.from_worker_event(event):
            metrics.guarded(report)
            self._recorder.add(report)

    async def _publish(self, inputs: Inputs, code: provenance.Code, result: Result) -> TrainingJob:
        """Publish the adapter, unless a cancel came first."""
        try:
            job = await self._insist(lambda: self._queue.publish(self._token))
        except FailedPrecondition:
            return await self._end(lambda: self._queue.cancelled(self._token))
        staged = self._workspace.relative(self._workspace.staged(job))
        told = await self._insist(lambda: self._store.log(job.id))
        attempts = attempts_of(told, result.ended_at, result.started.resumed_from_step)
        request = publication_of(job, attempts, inputs, code, result, staged)
        version = await self._insist(lambda: self._registry.publish(request))
        self._journal.say(f"version {version.version} is published")
        return await self._end(
            lambda: self._queue.complete(self._token, version.id, version.version)
        )

    async def _fail(self, reason: str, message: str) -> TrainingJob:
        log.warning("%s failed: %s: %s", self._name, reason, message)
        self._journal.say(f"the job fails: {reason}: {message}", Level.ERROR)
        return await self._end(lambda: self._queue.fail(self._token, reason, message))

    async def _end(self, write: Callable[[], Awaitable[TrainingJob]]) -> TrainingJob:
        """Write the last word; a heartbeat behind it would find the claim gone."""
        self._dismiss()
        await asyncio.gather(*self._helpers, return_exceptions=True)
        # Whoever reads the job's end finds everything that was said before it.
        await self._journal.close()
        return await self._insist(write)

    async def _record(self, progress: Progress, events: list[Event]) -> None:
        await self._insist(lambda: self._queue.record(self._token, progress, events))

    async def _beat(self) -> None:
        """Keep the lease; without a database, give up when it must have run out."""
        now, lease = asyncio.get_running_loop().time, self._queue.lease.total_seconds()
        renewed = now()
        while True:
            ticket = self._bell.ticket(changes_only=True)
            try:
                job = await self._queue.heartbeat(self._token)
                renewed = now()
                if job.cancel_requested_at is not None:
                    self.interrupt(save_checkpoint=False)
            except Unavailable:
                if now() - renewed > lease:
                    raise
            await self._bell.wait(ticket, at_most=lease / 4)

    async def _stop_when_interrupted(self, child: Child) -> None:
        await self._interrupted.wait()
        child.stop(save_checkpoint=self._saves)
        # Without a checkpoint to wait for, a long load or step is not waited for either.
        await asyncio.sleep(self._stop_seconds if self._saves else CANCEL_SECONDS)
        child.kill()

    async def _insist[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it is answered; once interrupted, only for a little while."""

        def enough(state: RetryCallState) -> bool:
            waited = state.seconds_since_start or 0.0
            return self._interrupted.is_set() and waited > PATIENCE_SECONDS

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=enough,
            reraise=True,
        )

        async def asked() -> T:
            return await call()

        return await retrying(asked)

    def _dismiss(self) -> None:
        for helper in self._helpers:
            helper.cancel()

    def _command(self, inputs: Inputs) -> pb.TrainCommand:
        return pb.TrainCommand(
            job=messages.job_to_proto(self.job),
            base_path=str(inputs.base_path),
            dataset_path=str(inputs.dataset_path),
            checkpoint_path=str(self._workspace.checkpoints(self.job)),
            output_path=str(self._workspace.staged(self.job)),
            base_digest=inputs.base_digest,
            dataset_digest=inputs.dataset_digest,
            cooldown=self._cooldown,
            resume_at_most_step=self.job.progress.step,
        )

    @property
    def _name(self) -> str:
        return f"job {self.job.id}, attempt {self.job.attempt}"
