"""A stream whose reader stops reading must not hold what it streams for ever."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from services.chassis.errors import reader_too_slow
from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.requests import Context
from services.chassis.status import DETAILS_KEY, code_of, to_status

log = logging.getLogger(__name__)

# The status waits behind what was not read; it goes out whether or not anyone waits for it.
_ABORT_S = 0.1


class SlowReaders(AroundInterceptor):
    """Writes streams itself, and ends one that takes no message for so long.

    The outermost one: it also closes a stream's generators at once when the caller leaves,
    where grpc would leave that to the garbage collector.
    """

    def __init__(self, seconds: float) -> None:
        """Take the longest time that one message may wait to be taken."""
        self._seconds = seconds

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> None:
            replies: AsyncIterator[Any]
            async with aclosing(behaviour(request, context)) as replies:
                async for reply in replies:
                    if not await self._written(reply, context):
                        break
                else:
                    return
            log.warning("%s: the reader is too slow and cut off", method)
            await _abort(context)

        return call

    async def _written(self, reply: Any, context: Context) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                await context.write(reply)
        except TimeoutError:
            return False
        return True


async def _abort(context: Context) -> None:
    error = reader_too_slow()
    status = to_status(error)
    trailers = ((DETAILS_KEY, status.SerializeToString()),)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ABORT_S):
            await context.abort(code_of(error), status.message, trailers)
    raise asyncio.CancelledError  # to grpc that is a call which ended, and no fault
