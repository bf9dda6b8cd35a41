"""A training child as the supervisor sees it: started, listened to, stopped, buried."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import BinaryIO

from mlx_hub.internal.v1 import worker_pb2 as pb

from services.chassis import children
from services.chassis.frames import FrameError, open_pair, read_frame, send_frame
from services.chassis.leases import Lease

log = logging.getLogger(__name__)

# How a failed allocation looks: MLX crashes, or the system kills.
_MEMORY_HINT = ", often for lack of memory: lower batch_size or max_seq_length"


class Child:
    """One worker process in a process group of its own."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take a child that has been spawned."""
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def spawn(cls, command: pb.TrainCommand, output: BinaryIO, lease: Lease) -> "Child":
        """Start a child and send it its job; it holds the lease from then on."""
        reader, writer, theirs = await open_pair()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "services.trainer.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(), lease.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                start_new_session=True,
            )
        except BaseException:
            writer.close()
            raise
        finally:
            theirs.close()
            lease.release()
        send_frame(writer, pb.WorkerCommand(train=command))
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Give the child's process id."""
        return self._process.pid

    async def events(self) -> AsyncIterator[pb.WorkerEvent]:
        """Yield what the child reports until it closes its socket, by dying at the latest."""
        try:
            while (event := await read_frame(self._reader, pb.WorkerEvent)) is not None:
                yield event
        except FrameError:
            self.kill()

    def stop(self, *, save_checkpoint: bool) -> None:
        """Ask the child to end at the next step."""
        stop = pb.StopCommand(save_checkpoint=save_checkpoint)
        send_frame(self._writer, pb.WorkerCommand(stop=stop))

    def kill(self) -> None:
        """End the child now, with everything it may have started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self, grace: float) -> str:
        """Make sure that the child is gone after `grace` seconds, and tell how it ended."""
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            log.warning("the training process did not end by itself")
        finally:
            self.kill()
            self._writer.close()
        code = await self._process.wait()
        if code >= 0:
            return f"the training process ended with exit code {code}"
        hint = _MEMORY_HINT if -code in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT) else ""
        return f"the training process was ended by {signal.Signals(-code).name}{hint}"


def environment() -> dict[str, str]:
    """Give the child's environment: one core stays free of BLAS threads for serving."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return children.environment(OPENBLAS_NUM_THREADS=str(max(1, cores - 1)))
