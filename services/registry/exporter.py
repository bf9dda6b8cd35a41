"""The exporting child as the registry sees it: one process for each export, ended with it."""

import asyncio
import errno
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.chassis import children
from services.chassis.errors import DataLoss, Exhausted, FailedPrecondition, HubError
from services.chassis.leases import Lease
from services.runtime.exchange.order import Order

# Hears what is being done, in words.
type Say = Callable[[str], None]


async def export(
    form: str, order: Order, folder: Path, work: Path, lease: Lease, say: Say
) -> dict[str, Any]:
    """Let `python -m services.runtime.exchange.export` fill the empty folder; give its report.

    The child holds the lease as long as it lives, and is killed when the caller is cancelled.
    """
    words = ("services.runtime.exchange.export", "--tied", form, order.write())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", *words, str(folder), str(work)),
        pass_fds=(lease.fileno(),),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
        env=children.environment(),
        process_group=0,  # Ctrl-C in a terminal is for the registry, which then ends this
    )
    try:
        found = await _told(process, say)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if failed := found.get("failed"):
        raise _failure(failed, folder.parent)
    if "form" not in found:
        raise RuntimeError("the exporting process ended before its export was done")
    return found


async def _told(process: asyncio.subprocess.Process, say: Say) -> dict[str, Any]:
    """Hear the child to its end; give what its last line of JSON says."""
    found: dict[str, Any] = {}
    lines = process.stdout
    while lines and (line := await lines.readline()):
        if line.startswith(b"{"):
            found = json.loads(line)
        else:
            say(line.decode(errors="replace").strip())
    return found


def _failure(failed: dict[str, Any], staging: Path) -> Exception:
    if failed["errno"] in (errno.ENOSPC, errno.EDQUOT):
        return disk_full("the data volume is full; free space and try again")
    if "reason" not in failed:
        return RuntimeError("the exporting process failed; its line in the log says why")
    reason, facts = failed["reason"], failed["facts"]
    message = failed["message"].replace(str(staging), "")
    kind: type[HubError] = DataLoss if reason == "ARTIFACT_CORRUPT" else FailedPrecondition
    return kind(reason, message, field=failed["field"] or None, metadata=facts)


def disk_full(message: str, **numbers: str) -> Exhausted:
    """Give the error of a volume without room."""
    return Exhausted("DISK_FULL", message, metadata=numbers)
