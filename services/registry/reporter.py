"""The reporting child as the registry sees it: started when needed, kept for a while, ended."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

from mlx_hub.internal.v1 import reporter_pb2 as pb
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport

from services.chassis import children
from services.chassis.errors import DataLoss, FailedPrecondition, HubError
from services.chassis.frames import FrameError, open_pair, read_frame, write_frame

# Starting costs seconds of imports, so the child stays for the next one who asks.
IDLE_S = 60.0
# Hears how many rows were read.
type Heard = Callable[[int], None]


class _Child:
    """One process and this end of its socket."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.process = process
        self._reader, self._writer = streams

    @classmethod
    async def start(cls) -> "_Child":
        """Start `python -m services.runtime.report`."""
        reader, writer, theirs = await open_pair()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "services.runtime.report", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=children.environment(OPENBLAS_NUM_THREADS="1"),
                process_group=0,  # Ctrl-C in a terminal is for the registry, which then ends this
            )
        except BaseException:
            writer.close()
            raise
        finally:
            theirs.close()
        return cls(process, (reader, writer))

    async def ask(self, command: pb.ReportCommand, heard: Heard) -> pb.ReportAnswer:
        """Send a command, hear how far it is, and wait for its answer."""
        answer = None
        with suppress(ConnectionError, FrameError):
            await write_frame(self._writer, command)
            while (answer := await read_frame(self._reader, pb.ReportAnswer)) is not None:
                if not answer.HasField("progress"):
                    break
                heard(answer.progress.rows_read)
        if answer is None:
            raise RuntimeError("the reporting process ended before its report was done")
        return answer

    def kill(self) -> None:
        """End it now."""
        self._writer.close()
        with suppress(ProcessLookupError):
            self.process.kill()

    async def end(self) -> None:
        """End it now, and wait until it is gone."""
        self.kill()
        await self.process.wait()


class Reporter:
    """A child for each that asks at the same time, of which one stays for the next."""

    def __init__(self) -> None:
        """Begin without a child."""
        self._child: _Child | None = None
        self._leaving: asyncio.TimerHandle | None = None

    async def report(self, command: pb.ReportCommand, heard: Heard) -> DatasetReport:
        """Let a child report; it is killed when the caller is cancelled."""
        child = self._take() or await _Child.start()
        try:
            answer = await child.ask(command, heard)
        except BaseException:
            await child.end()
            raise
        if other := self._take():
            await other.end()
        self._child = child
        self._leaving = asyncio.get_running_loop().call_later(IDLE_S, self._dismiss)
        if answer.HasField("failed"):
            raise _failure(answer.failed)
        return answer.report

    async def close(self) -> None:
        """Leave no process behind."""
        if child := self._take():
            await child.end()

    def _take(self) -> _Child | None:
        """Give the idle child, if it still lives."""
        if self._leaving:
            self._leaving.cancel()
        child, self._child, self._leaving = self._child, None, None
        return child if child and child.process.returncode is None else None

    def _dismiss(self) -> None:
        if child := self._take():
            child.kill()


def _failure(failed: pb.ReportFailed) -> HubError:
    if failed.reason == "ARTIFACT_CORRUPT":
        return DataLoss(failed.reason, failed.message, metadata={"file": "dataset"})
    return FailedPrecondition(failed.reason, failed.message)
