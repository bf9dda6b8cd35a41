"""TrainerService: unpack, call, pack."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1 import (
    training_event_pb2,
    training_job_pb2,
    training_log_pb2,
    training_memory_pb2,
)
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from services.chassis import paging
from services.chassis.requests import Context, body_digest, created, request_id
from services.trainer import messages
from services.trainer.joblog import messages as log_messages
from services.trainer.joblog.follow import LogReader
from services.trainer.originals import Originals
from services.trainer.plan import plan_to_proto
from services.trainer.planner import Planner
from services.trainer.progress import Watch
from services.trainer.queue import JobQueue
from services.trainer.registry import Registry
from services.trainer.store import JobStore


class TrainerServicer(pb_grpc.TrainerServiceServicer):
    """Speaks for the queue; the supervisor works on it."""

    def __init__(
        self,
        store: JobStore,
        queue: JobQueue,
        registry: Registry,
        planner: Planner,
        watch: Watch,
        logs: LogReader,
    ) -> None:
        """Take what the methods call."""
        self._store = store
        self._queue = queue
        self._registry = registry
        self._planner = planner
        self._watch = watch
        self._originals = Originals(store, registry)
        self._logs = logs

    async def CreateTrainingJob(
        self, request: CreateTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        """Queue a job over a model and a dataset that can train it."""
        key, digest = request_id(request, context), body_digest(request)
        job = await self._store.find_request(key, digest)
        if job is None:
            dataset = await self._registry.check(request.model_id, request.dataset_id)
            order = messages.order_from_proto(request, dataset.schema)
            await self._planner.admit(order)
            job = await self._store.create(order, key, digest)
        await created(context, f"/training/jobs/{job.id}")
        return messages.job_to_proto(job)

    async def ForecastTraining(
        self, request: CreateTrainingJobRequest, context: Context
    ) -> training_memory_pb2.ForecastTrainingResponse:
        """Tell what a job would need."""
        dataset = await self._registry.check(request.model_id, request.dataset_id)
        order = messages.order_from_proto(request, dataset.schema)
        return plan_to_proto(await self._planner.plan(order))

    async def ListTrainingJobs(
        self, request: pb.ListTrainingJobsRequest, context: Context
    ) -> pb.ListTrainingJobsResponse:
        """Page through jobs, newest first."""
        size, filters = paging.page_size(request.page_size), messages.filters(request)
        key = paging.decode_token(request.page_token, filters, [int])
        status = messages.status_from_proto(request.status)
        before = int(key[0]) if key else None
        jobs = await self._store.list(size + 1, before, request.model_id, status)
        token = paging.encode_token([jobs[size - 1].id], filters) if len(jobs) > size else ""
        listed = [messages.job_to_proto(job) for job in jobs[:size]]
        return pb.ListTrainingJobsResponse(jobs=listed, next_page_token=token)

    async def GetTrainingJob(
        self, request: pb.GetTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        """Give one job."""
        return messages.job_to_proto(await self._store.get(request.job_id))

    async def CancelTrainingJob(
        self, request: pb.CancelTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        """Cancel a job that has not begun to publish."""
        return messages.job_to_proto(await self._queue.cancel(request.job_id))

    async def RetryTrainingJob(
        self, request: pb.RetryTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        """Queue a failed or cancelled job again."""
        return messages.job_to_proto(await self._queue.retry(request.job_id))

    async def ReplayTrainingJob(
        self, request: pb.ReplayTrainingJobRequest, context: Context
    ) -> training_job_pb2.TrainingJob:
        """Queue a completed job's recipe again, for a verdict."""
        key, digest = request_id(request, context), body_digest(request)
        job = await self._store.find_request(key, digest)
        if job is None:
            original = await self._store.get(request.job_id)
            order = original.again()
            await self._originals.check(original)
            job = await self._store.create(order, key, digest)
        await created(context, f"/training/jobs/{job.id}")
        return messages.job_to_proto(job)

    async def WatchTrainingJob(
        self, request: pb.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[training_event_pb2.TrainingEvent]:
        """Stream a job's events."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        async with aclosing(self._watch.frames(request.job_id, after)) as frames:
            async for frame in frames:
                yield messages.frame(frame)

    async def ListTrainingJobLogs(
        self, request: training_log_pb2.ListTrainingJobLogsRequest, context: Context
    ) -> training_log_pb2.ListTrainingJobLogsResponse:
        """Page through a job's log."""
        size, filters = paging.page_size(request.page_size), log_messages.filters(request)
        key = paging.decode_token(request.page_token, filters, [int])
        last = int(key[0]) if key else None
        after, order = request.after_sequence, request.newest_first
        page = await self._logs.page(request.job_id, after, size, newest_first=order, last=last)
        token = paging.encode_token([page.lines[-1].sequence], filters) if page.more else ""
        lines = [log_messages.line_to_proto(line) for line in page.lines]
        return training_log_pb2.ListTrainingJobLogsResponse(lines=lines, next_page_token=token)

    async def TailTrainingJobLogs(
        self, request: training_log_pb2.TailTrainingJobLogsRequest, context: Context
    ) -> AsyncIterator[training_log_pb2.TrainingLogEvent]:
        """Stream a job's log."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        count = request.lines if request.HasField("lines") else None
        async with aclosing(self._logs.frames(request.job_id, after, count)) as frames:
            async for frame in frames:
                yield log_messages.log_frame(frame)
