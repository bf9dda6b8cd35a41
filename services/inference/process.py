"""An engine child as the service sees it: started, spoken to, and mourned."""

import asyncio
import itertools
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable

from mlx_hub.internal.v1 import engine_pb2

from services.chassis import children
from services.chassis.errors import HubError, Unavailable
from services.chassis.frames import FrameError, open_pair, read_frame, send_frame, write_frame
from services.chassis.leases import Lease
from services.inference.cache_messages import bounds_of, clear_of, cleared_of, kept_of
from services.inference.caching import Cleared, Kept
from services.inference.domain import Adapter, Base, Delta, EngineLimits, Finished, Generation
from services.inference.inbox import PIECES, Inbox
from services.inference.messages import cancel_of, delta_of, error_of, finished_of, submit_of

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
# What comes of an answer before its end.

type OnStats = Callable[[str, engine_pb2.EngineStats], None]


class EngineProcess:
    """One running engine; `start` makes it, `ended` tells when it is gone."""

    def __init__(
        self,
        base: Base,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_stats: OnStats,
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
        self._inboxes: dict[int, Inbox] = {}
        self._reading: asyncio.Task[None] | None = None
        self._dead = False

    @classmethod
    async def start(
        cls, base: Base, limits: EngineLimits, lease: Lease, seconds: float, on_stats: OnStats
    ) -> "EngineProcess":
        """Spawn an engine and wait until it is ready; raises Unavailable with the reason.

        The lease is the engine's from then on: it ends with its process.
        """
        reader, writer, theirs = await open_pair()
        descriptor = theirs.fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "services.inference.engine"),
                *(str(descriptor), str((base.under or base).path)),
                pass_fds=(descriptor, lease.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                env=children.environment(),
            )
        except BaseException:
            writer.close()
            raise
        finally:
            theirs.close()
            lease.release()
        engine = cls(base, process, (reader, writer), on_stats)
        try:
            async with asyncio.timeout(seconds):
                await engine._wait_ready(limits)
        except BaseException as error:
            await engine.stop()
            if isinstance(error, TimeoutError):
                why = f"the engine did not load {base.name} within {seconds:.0f} s"
                raise start_failed(base, why) from error
            raise
        engine._reading = asyncio.create_task(engine._read())
        return engine

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    async def generate(
        self, generation: Generation, adapter: Adapter | None
    ) -> AsyncGenerator[Delta | Finished, None]:
        """Yield text as it is made, then how it ended; closing the generator drops the request.

        Raises ENGINE_DIED when the engine ends first, and READER_TOO_SLOW.
        """
        number = next(self._numbers)
        self._inboxes[number] = inbox = Inbox()
        try:
            await self._send(submit_of(number, generation, adapter))
            while (event := await inbox.get()).WhichOneof("event") in PIECES:
                yield delta_of(event)
            if event.HasField("failed"):
                raise error_of(event.failed)
            yield finished_of(event.finished)
        finally:
            del self._inboxes[number]
            if not inbox.over and not self._dead:
                send_frame(self._writer, cancel_of(number))

    async def clear_cache(self) -> Cleared:
        """Forget what is kept of prompts; an engine that ends meanwhile has forgotten it, too."""
        number = next(self._numbers)
        inbox = self._inboxes[number] = Inbox()
        try:
            await self._send(clear_of(number))
            event = await inbox.get()
        except HubError:
            event = None
        finally:
            del self._inboxes[number]
        return cleared_of(event.cache_cleared) if event else Cleared()

    async def stop(self) -> None:
        """End the child: closing the socket is enough, killing helps where it is not."""
        self._writer.close()
        await self._gone()
        if self._reading:
            await self._reading

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
            tuned_path=str(self.base.path) if self.base.under else "",
            prefix_cache=bounds_of(self.base, limits),
            max_kv_size=limits.max_kv_size,
        )
        try:
            await write_frame(self._writer, engine_pb2.EngineCommand(start=start))
            event = await read_frame(self._reader, engine_pb2.EngineEvent)
        except (FrameError, ConnectionError):
            event = None
        if event is None:
            raise start_failed(self.base, f"the engine ended while it loaded {self.base.name}")
        if event.WhichOneof("event") == "failed":
            raise start_failed(self.base, event.failed.message)

    async def _read(self) -> None:
        """Hand events to their requests until the child is gone, then tell every request."""
        try:
            while event := await read_frame(self._reader, engine_pb2.EngineEvent):
                self._dispatch(event)
        except FrameError as error:
            log.error("the engine of %s wrote no frames: %s", self.base.name, error)
            self._process.kill()
        self._on_stats(self.base.name, engine_pb2.EngineStats())
        self._dead = True
        self._writer.close()
        code = await self._gone()
        # Not before: another engine may need the memory that this one gave back. And the requests
        # hear of it last: whoever sends one again finds the engine ended, and starts another.
        self.ended.set()
        for inbox in self._inboxes.values():
            inbox.fail(self._died())
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        log.log(
            logging.INFO if code == 0 else logging.ERROR,
            "the engine of %s ended with %s",
            self.base.name,
            how,
        )

    def _dispatch(self, event: engine_pb2.EngineEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "stats":
            self.kept = kept_of(event.stats.cache)
            self._on_stats(self.base.name, event.stats)
        elif kind in (*PIECES, "finished", "failed", "cache_cleared"):
            number = getattr(event, kind).request
            inbox = self._inboxes.get(number)
            if inbox is not None and not inbox.over:
                inbox.put(event)
                if kind in PIECES and inbox.over:  # its reader is cut, and the row is free
                    send_frame(self._writer, cancel_of(number))

    async def _send(self, command: engine_pb2.EngineCommand) -> None:
        try:
            if self._dead:
                raise self._died()
            await write_frame(self._writer, command)
        except ConnectionError as error:
            raise self._died() from error

    def _died(self) -> HubError:
        return Unavailable(
            "ENGINE_DIED",
            "the engine that worked on this ended; send the request again",
            metadata={"base_model": self.base.name},
            retry_after_s=1,
        )


def start_failed(base: Base, why: str, retry_after_s: float = 1) -> HubError:
    """Give the error of an engine that can't serve."""
    return Unavailable(
        "ENGINE_START_FAILED",
        why,
        metadata={"base_model": base.name},
        retry_after_s=retry_after_s,
    )
