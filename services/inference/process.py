"""An engine child as the service sees it: started, spoken to, and mourned."""

import asyncio
import itertools
import logging
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import HubError
from services.chassis.frames import FrameError, read_frame, send_frame, write_frame
from services.chassis.leases import Lease
from services.inference import engine_metrics, failures
from services.inference.cache_messages import bounds_of, clear_of, cleared_of, kept_of
from services.inference.caching import Cleared, Kept
from services.inference.domain import (
    Adapter,
    Base,
    Delta,
    EngineLimits,
    Finished,
    Generation,
)
from services.inference.inbox import PIECES
from services.inference.messages import (
    cancel_of,
    delta_of,
    draft_of,
    error_of,
    finished_of,
    loading_of,
    submit_of,
)
from services.inference.oversight import Open, Oversight
from services.inference.seat import Facts
from services.inference.spawning import spawn
from services.inference.watchdog import Watchdog

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0

type OnStats = Callable[[str, engine_pb2.EngineStats | None], None]
"""Hears what the engine of a base model says of itself; None when it has ended."""


class EngineProcess:
    """One running engine; `start` makes it, `ended` tells when it is gone."""

    def __init__(
        self,
        base: Base,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_stats: OnStats,
        oversight: Oversight,
    ) -> None:
        """Take a child that has been spawned; it is not ready before `_wait_ready`."""
        self.base = base
        self.ended = asyncio.Event()
        self.kept = Kept()
        """What its prefix cache held when it told last."""
        self._process = process
        self._reader, self._writer = streams
        self._on_stats = on_stats
        self._numbers = itertools.count(1)
        self._oversight = oversight
        self._watchdog = Watchdog(oversight.stall_seconds)
        self._open: dict[int, Open] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = engine_pb2.EngineReady()
        self._stats = engine_pb2.EngineStats()
        self._last_step_at = 0.0
        self._dead = self._stopping = self._stalled = False
        self._ending = ""

    @classmethod
    async def start(
        cls,
        base: Base,
        limits: EngineLimits,
        lease: Lease,
        seconds: float,
        on_stats: OnStats,
        oversight: Oversight | None = None,
    ) -> "EngineProcess":
        """Spawn an engine and wait until it is ready; raises Unavailable with the reason.

        The lease is the engine's from then on: it ends with its process.
        """
        process, streams = await spawn(base, lease)
        engine = cls(base, process, streams, on_stats, oversight or Oversight())
        try:
            async with asyncio.timeout(seconds):
                await engine._wait_ready(limits)
        except BaseException as error:
            await engine.stop()
            if isinstance(error, TimeoutError):
                why = f"the engine did not load {base.name} within {seconds:.0f} s"
                raise failures.start_failed(base, why) from error
            raise
        engine._tasks = [asyncio.create_task(w()) for w in (engine._read, engine._guard)]
        return engine

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        return self._ending

    def facts(self) -> Facts:
        """Tell what it is and last said of itself."""
        return Facts(
            pid=self.pid,
            weight_bytes=self._ready.weight_bytes,
            active_bytes=self._stats.active_bytes,
            peak_bytes=self._stats.peak_bytes,
            adapters=self._stats.adapters,
            steps=self._stats.steps,
            last_step_at=self._last_step_at,
            running=self._stats.running,
            waiting=self._stats.waiting,
            stalled=self._watchdog.stalled,
            draft_failed=self._stats.draft_failed,
        )

    async def generate(
        self, generation: Generation, adapter: Adapter | None, coming: int = 0
    ) -> AsyncGenerator[Delta | Finished, None]:
        """Yield text as it is made, then how it ended; closing the generator drops the request.

        `coming` others will be here in a moment: an idle engine reads their prompts in one pass.

        Raises ENGINE_DIED or ENGINE_STALLED when the engine ends first, REQUEST_QUARANTINED where
        it ended too often with this very request, and READER_TOO_SLOW.
        """
        self._oversight.quarantine.check(self.base, generation, adapter)
        if not self._open:
            self._watchdog.progressed()  # until now there was nothing to do
        number = next(self._numbers)
        inbox = (request := Open((generation, adapter))).inbox
        self._open[number] = request
        try:
            await self._send(submit_of(number, generation, adapter, coming))
            while (event := await inbox.get()).WhichOneof("event") in PIECES:
                yield delta_of(event)
            if event.HasField("failed"):
                raise error_of(event.failed)
            yield finished_of(event.finished)
        finally:
            del self._open[number]
            if not inbox.over and not self._dead:
                send_frame(self._writer, cancel_of(number))

    async def clear_cache(self) -> Cleared:
        """Forget what is kept of prompts; an engine that ends meanwhile has forgotten it, too."""
        number = next(self._numbers)
        inbox = (request := Open()).inbox
        self._open[number] = request
        try:
            await self._send(clear_of(number))
            event = await inbox.get()
        except HubError:
            event = None
        finally:
            del self._open[number]
        return cleared_of(event.cache_cleared) if event else Cleared()

    async def stop(self) -> None:
        """End the child: closing the socket is enough, killing helps where it is not."""
        self._stopping = True
        self._writer.close()
        await self._gone()
        await asyncio.gather(*self._tasks)

    async def _gone(self) -> int:
        """Wait for the child's end, which its closed socket brings about, and give its code."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    async def _wait_ready(self, limits: EngineLimits) -> None:
        start = engine_pb2.StartCommand(
            max_rows=limits.rows,
            kv_tokens=limits.kv_tokens,
            adapter_slots=limits.adapter_slots,
            adapter_bytes=limits.adapter_bytes,
            adapter_ahead_bytes=limits.adapter_ahead_bytes,
            tuned_path=str(self.base.path) if self.base.under else "",
            prefix_cache=bounds_of(self.base, limits),
            max_kv_size=limits.max_kv_size,
            kv_bits=limits.kv_bits,
            draft=draft_of(self.base),
        )
        try:
            await write_frame(self._writer, engine_pb2.EngineCommand(start=start))
            while (event := await self._next()) and event.HasField("loading"):
                self._oversight.on_loading(loading_of(self.base.name, event.loading))
        except (FrameError, ConnectionError):
            event = None
        if event is None:
            raise failures.start_failed(
                self.base, f"the engine ended while it loaded {self.base.name}"
            )
        if event.WhichOneof("event") == "failed":
            raise failures.start_failed(self.base, event.failed.message)
        self._ready = event.ready

    async def _next(self) -> engine_pb2.EngineEvent | None:
        return await read_frame(self._reader, engine_pb2.EngineEvent)

    async def _guard(self) -> None:
        """End the child if it has requests and makes no progress."""
        while not self.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watchdog.pause):
                    await self.ended.wait()
            if self._watchdog.look(working=bool(self._open)) and not self._dead:
                self._stalled = True
                engine_metrics.stalled(self.base.name)
                self._process.kill()
                return

    async def _read(self) -> None:
        """Hand events to their requests until the child is gone, then tell every request."""
        try:
            while event := await self._next():
                self._dispatch(event)
        except FrameError as error:
            log.error("the engine of %s wrote no frames: %s", self.base.name, error)
            self._process.kill()
        self._on_stats(self.base.name, None)
        self._dead = True
        self._writer.close()
        code = await self._gone()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._ending = f"ended with {how}"
        if self._stalled:
            self._ending = f"made no progress for {self._watchdog.limit:g} s and was ended"
        if not self._stopping:
            running = [request.asked for request in self._open.values() if request.asked]
            self._oversight.quarantine.died(self.base, running, self._ending)
        # Not before: another engine may need the memory that this one gave back. And the requests
        # hear of it last: whoever sends one again finds the engine ended, and starts another.
        self.ended.set()
        for request in self._open.values():
            request.inbox.fail(self._died())
        level = logging.INFO if code == 0 else logging.ERROR
        log.log(level, "the engine of %s %s", self.base.name, self._ending)

    def _dispatch(self, event: engine_pb2.EngineEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "stats":
            self.kept = kept_of(event.stats.cache)
            self._take(event.stats)
            self._on_stats(self.base.name, event.stats)
        elif kind in (*PIECES, "finished", "failed", "cache_cleared"):
            self._watchdog.progressed()
            number = getattr(event, kind).request
            request = self._open.get(number)
            if request is not None and not request.inbox.over:
                request.inbox.put(event)
                if kind in PIECES and request.inbox.over:  # its reader is cut, and the row is free
                    send_frame(self._writer, cancel_of(number))

    def _take(self, stats: engine_pb2.EngineStats) -> None:
        if stats.steps > self._stats.steps:
            self._watchdog.progressed()
            self._last_step_at = time.time() - stats.last_step_age_seconds
        self._stats = stats

    async def _send(self, command: engine_pb2.EngineCommand) -> None:
        try:
            if self._dead:
                raise self._died()
            await write_frame(self._writer, command)
        except ConnectionError as error:
            raise self._died() from error

    def _died(self) -> HubError:
        if self._stalled:
            return failures.stalled(self.base, self._watchdog.limit)
        return failures.died(self.base)
