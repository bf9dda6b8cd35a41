"""Streams that break off: the last frame says why."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from google.rpc.status_pb2 import Status

from services.chassis.errors import HubError, Internal
from services.chassis.status import to_status


async def with_error_frame[F, E](
    frames: AsyncGenerator[F], write: Callable[[F], E], broken: Callable[[Status], E]
) -> AsyncGenerator[E]:
    """Write frames, and end a stream that has begun with one that says why it ends.

    Over HTTP/1.1 nothing else can. Before the first frame the plain error is enough, and gives REST
    its status code.
    """
    begun = False
    async with aclosing(frames):
        try:
            async for frame in frames:
                yield write(frame)
                begun = True
        except Exception as error:
            if begun:
                known = error if isinstance(error, HubError) else None
                yield broken(to_status(known or Internal("INTERNAL", "internal error")))
            raise
