"""Starting an engine's process, with its socket and its right to memory."""

import asyncio
import sys

from services.chassis import children
from services.chassis.frames import open_pair
from services.chassis.leases import Lease
from services.inference.domain import Base


async def spawn(
    base: Base, lease: Lease
) -> tuple[asyncio.subprocess.Process, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Start the child and hand the lease over to it."""
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
    return process, (reader, writer)
