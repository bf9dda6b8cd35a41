"""The hub for asyncio programs: the blocking hub's twin over an asyncio channel."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Concatenate, Self

import grpc
from google.protobuf.message import Message
from grpc import aio
from mlx_hub.client import channel as settings
from mlx_hub.client.address import find_address
from mlx_hub.client.calls import (
    datasets,
    inference,
    provenance,
    quality,
    registry,
    storage,
    system,
    trainer,
)
from mlx_hub.client.contract import Call, Find, Generation, Pages, build, documented
from mlx_hub.client.errors import HubError, from_rpc
from mlx_hub.client.retry import Budget, policy
from mlx_hub.client.stream import AsyncTokenStream
from mlx_hub.client.upload import Sending, Upload
from mlx_hub.client.watch import Cursor, LogCursor, WatchCursor
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import TrainingJob
from mlx_hub.trainer.v1.training_log_pb2 import TrainingLogEvent
from tenacity import AsyncRetrying


class _Transport:
    """Carries calls over one channel."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self.channel = aio.insecure_channel(address, options=settings.OPTIONS)

    async def unary[R: Message](self, call: Call[R]) -> R:
        deadline = call.deadline(self._timeout)
        budget = Budget(deadline)
        rpc = self.channel.unary_unary(
            call.path, type(call.request).SerializeToString, call.reply.FromString
        )

        async def attempt() -> R:
            try:
                return await rpc(call.request, timeout=budget.left())
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return await AsyncRetrying(**policy(call.repeatable, deadline))(attempt)

    async def upload[R: Message](self, call: Upload[R]) -> R:
        budget = Budget(call.timeout)
        rpc = self.channel.stream_unary(
            call.path, type(call.request).SerializeToString, call.reply.FromString
        )

        async def attempt() -> R:
            sending = await asyncio.to_thread(Sending, call.messages())
            try:
                return await rpc(aiter(sending), timeout=budget.left())
            except asyncio.CancelledError:
                if sending.broken:
                    raise sending.broken from None
                raise
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return await AsyncRetrying(**policy(call.repeatable, call.timeout))(attempt)

    async def pages[P: Message, I](self, pages: Pages[P, I]) -> AsyncIterator[I]:
        rest: Pages[P, I] | None = pages
        while rest is not None:
            page = await self.unary(rest.call)
            for item in rest.items(page):
                yield item
            rest = rest.after(page)

    async def find[P: Message, I](self, find: Find[P, I]) -> I:
        async for item in self.pages(find.pages):
            if find.matches(item):
                return item
        raise find.missing

    def stream[R: Message](
        self, call: Call[R], timeout: float | None = None
    ) -> "aio.UnaryStreamCall[Message, R]":
        rpc = self.channel.unary_stream(
            call.path, type(call.request).SerializeToString, call.reply.FromString
        )
        return rpc(call.request, timeout=timeout)

    async def follow[F: TrainingEvent | TrainingLogEvent, I](
        self, cursor: Cursor[F, I]
    ) -> AsyncIterator[I]:
        while True:
            frames = self.stream(cursor.call())
            try:
                async for frame in frames:
                    if (fresh := cursor.accept(frame)) is not None:
                        yield fresh
                return
            except grpc.RpcError as error:
                pause = cursor.pause(from_rpc(error, self.address))
            except HubError as error:
                pause = cursor.pause(error)
            finally:
                frames.cancel()
            await asyncio.sleep(pause)


class _Group:
    """Some verbs of a hub."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = transport


def _unary[**A, R: Message](
    make: Callable[A, Call[R]],
) -> Callable[Concatenate[_Group, A], Awaitable[R]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> Awaitable[R]:
        return self._transport.unary(build(make, *args, **kwargs))

    return verb


def _upload[**A, R: Message](
    make: Callable[A, Upload[R]],
) -> Callable[Concatenate[_Group, A], Awaitable[R]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> Awaitable[R]:
        return self._transport.upload(build(make, *args, **kwargs))

    return verb


def _pages[**A, P: Message, I](
    make: Callable[A, Pages[P, I]],
) -> Callable[Concatenate[_Group, A], AsyncIterator[I]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> AsyncIterator[I]:
        return self._transport.pages(build(make, *args, **kwargs))

    return verb


def _find[**A, P: Message, I](
    make: Callable[A, Find[P, I]],
) -> Callable[Concatenate[_Group, A], Awaitable[I]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> Awaitable[I]:
        return self._transport.find(build(make, *args, **kwargs))

    return verb


def _follow[**A, F: TrainingEvent | TrainingLogEvent, I](
    make: Callable[A, Call[F]], cursor: Callable[[Call[F]], Cursor[F, I]]
) -> Callable[Concatenate[_Group, A], AsyncIterator[I]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> AsyncIterator[I]:
        return self._transport.follow(cursor(build(make, *args, **kwargs)))

    return verb


def _tokens[**A](
    make: Callable[A, Generation[Completion]],
) -> Callable[Concatenate[_Group, A], AsyncTokenStream]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> AsyncTokenStream:
        call = inference.streamed(build(make, *args, **kwargs))
        transport = self._transport
        return AsyncTokenStream(transport.stream(call, call.timeout), transport.address)

    return verb


class AsyncModels(_Group):
    """Models, their versions, and the base models under them."""

    create = _unary(registry.create_model)
    get = _unary(registry.get_model)
    update = _unary(registry.update_model)
    delete = _unary(registry.delete_model)
    find = _find(registry.find_model)
    list = _pages(registry.list_models)
    history = _pages(registry.model_history)
    versions = _pages(registry.list_versions)
    version = _unary(registry.get_version)
    lineage = _unary(registry.get_lineage)
    verify = _unary(provenance.verify_version)
    statement = _unary(provenance.get_statement)
    promote = _unary(registry.promote_version)
    roll_back = _unary(registry.roll_back_alias)
    delete_alias = _unary(registry.delete_alias)
    archive = _unary(registry.archive_version)
    restore = _unary(registry.restore_version)
    base_models = _pages(registry.list_base_models)


class AsyncQuality(_Group):
    """How good a model's versions are, and the gate before their promotion."""

    record = _unary(quality.record_evaluation)
    get = _unary(quality.get_evaluation)
    list = _pages(quality.list_evaluations)
    trend = _unary(quality.quality_trend)
    samples = _unary(quality.version_samples)
    set_gate = _unary(quality.set_promotion_gate)
    gate = _unary(quality.get_promotion_gate)
    delete_gate = _unary(quality.delete_promotion_gate)


class AsyncDatasets(_Group):
    """Training data, by content."""

    create = _unary(datasets.create_dataset)
    get = _unary(datasets.get_dataset)
    report = _unary(datasets.report_dataset)
    upload = _upload(datasets.upload_dataset)
    delete = _unary(datasets.delete_dataset)
    find = _find(datasets.find_dataset)
    list = _pages(datasets.list_datasets)


class AsyncStorage(_Group):
    """How the stored files are."""

    report = _unary(storage.get_report)
    reconcile = _unary(storage.reconcile)


class AsyncJobs(_Group):
    """Training jobs."""

    create = _unary(trainer.create_job)
    forecast = _unary(trainer.forecast_job)
    get = _unary(trainer.get_job)
    list = _pages(trainer.list_jobs)
    cancel = _unary(trainer.cancel_job)
    retry = _unary(trainer.retry_job)
    replay = _unary(trainer.replay_job)
    watch = _follow(trainer.watch_job, WatchCursor)
    logs = _pages(trainer.list_logs)
    tail = _follow(trainer.tail_logs, LogCursor)

    async def wait(self, job_id: int) -> TrainingJob:
        """Return the job once it has completed, failed or been cancelled."""
        async for _ in self.watch(job_id):
            pass
        return await self.get(job_id)


class AsyncHub(_Group):
    """A hub at one address; made and used in one event loop, best in `async with`."""

    def __init__(
        self, address: str | None = None, *, timeout: float = settings.DEFAULT_TIMEOUT
    ) -> None:
        self.address = find_address(address)
        super().__init__(_Transport(self.address, timeout))
        self.models = AsyncModels(self._transport)
        self.quality = AsyncQuality(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.storage = AsyncStorage(self._transport)
        self.jobs = AsyncJobs(self._transport)

    generate = _unary(inference.generate)
    stream = _tokens(inference.generate)
    cache_stats, clear_cache = _unary(inference.cache_stats), _unary(inference.clear_cache)
    health = _unary(system.get_health)

    async def metrics(self) -> str:
        """Return the Prometheus metrics of every service in one text."""
        return (await self._transport.unary(system.get_metrics())).data.decode()

    async def close(self) -> None:
        """Close the channel; streams that still run end as cancelled."""
        await self._transport.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
