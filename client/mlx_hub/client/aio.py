"""The hub for asyncio programs: the blocking hub's twin over an asyncio channel."""

from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from types import TracebackType
from typing import Concatenate, Self, Unpack

from google.protobuf.message import Message
from mlx_hub.client.aio_transport import Transport
from mlx_hub.client.calls import (
    datasets,
    downloads,
    engines,
    inference,
    provenance,
    quality,
    registry,
    storage,
    system,
    trainer,
)
from mlx_hub.client.channel import Settings, connection
from mlx_hub.client.contract import Call, Find, Generation, Pages, build, documented
from mlx_hub.client.download import Download, Export
from mlx_hub.client.stream import AsyncTokenStream
from mlx_hub.client.upload import Upload
from mlx_hub.client.watch import Cursor, Frame, LogCursor, WatchCursor
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.registry.v1.export_pb2 import VersionExport
from mlx_hub.trainer.v1.training_job_pb2 import TrainingJob


class _Group:
    """Some verbs of a hub."""

    def __init__(self, transport: Transport) -> None:
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


def _download[**A, R: Message](
    make: Callable[A, Download[R]],
) -> Callable[Concatenate[_Group, A], Awaitable[R]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> Awaitable[R]:
        return self._transport.download(build(make, *args, **kwargs))

    return verb


def _export[**A](
    make: Callable[A, Export],
) -> Callable[Concatenate[_Group, A], Awaitable[VersionExport]]:
    @documented(make)
    def verb(self: _Group, /, *args: A.args, **kwargs: A.kwargs) -> Awaitable[VersionExport]:
        return self._transport.export(build(make, *args, **kwargs))

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


def _follow[**A, F: Frame, I](
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
        return self._transport.tokens(inference.streamed(build(make, *args, **kwargs)))

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
    files = _unary(downloads.list_files)
    download = _download(downloads.download_version)
    export = _export(downloads.export_version)
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
    download = _download(downloads.download_dataset)
    delete = _unary(datasets.delete_dataset)
    find = _find(datasets.find_dataset)
    list = _pages(datasets.list_datasets)


class AsyncStorage(_Group):
    """How the stored files are."""

    report = _unary(storage.get_report)
    reconcile = _unary(storage.reconcile)


class AsyncEngines(_Group):
    """What is in memory."""

    list = _unary(engines.list_engines)
    load = _unary(engines.load_model)
    unload = _unary(engines.unload_model)


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


class AsyncGenerations(_Group):
    """Past answers: what each came from, and how it ended."""

    get = _unary(inference.get_generation)
    list = _pages(inference.list_generations)


class AsyncCache(_Group):
    """What engines keep of the prompts that they have read."""

    stats = _unary(inference.cache_stats)
    clear = _unary(inference.clear_cache)


class AsyncHub(_Group):
    """A hub at one address; made and used in one event loop, best in `async with`."""

    def __init__(self, address: str | None = None, **settings: Unpack[Settings]) -> None:
        """Find the hub; `Settings` says what the keywords are."""
        connected = connection(address, **settings)
        self.address = connected.address
        super().__init__(Transport(connected))
        self._arrange()

    def _arrange(self) -> None:
        self.models = AsyncModels(self._transport)
        self.quality = AsyncQuality(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.storage = AsyncStorage(self._transport)
        self.jobs = AsyncJobs(self._transport)
        self.generations = AsyncGenerations(self._transport)
        self.engines = AsyncEngines(self._transport)
        self.cache = AsyncCache(self._transport)

    def within(self, seconds: float) -> Self:
        """The same hub over the same channel, whose calls give up after so many seconds.

        A watch, a wait and a stream, too; a list, page by page. A call's own `timeout` goes first.
        """
        view = copy(self)
        view._transport = self._transport.within(seconds)
        view._arrange()
        return view

    generate = _unary(inference.generate)
    stream = _tokens(inference.generate)
    health = _unary(system.get_health)

    async def metrics(self) -> str:
        """Return the Prometheus metrics of every service in one text."""
        return (await self._transport.unary(system.get_metrics())).data.decode()

    async def close(self) -> None:
        """Close the channel; streams that still run end as cancelled."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
