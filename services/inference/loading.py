"""Telling those who wait for a model how far it is."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from services.inference.domain import Answer, Delta, Loading

# A stream that has begun ends with an error frame, no longer with a status code of its own. So
# what fails soon still fails by its status.
FIRST_SECONDS = 1.0
PAUSE_SECONDS = 0.25


async def with_loading(
    frames: AsyncGenerator[Delta | Answer, None], progress: Callable[[], Loading | None]
) -> AsyncGenerator[Delta | Loading | Answer, None]:
    """Yield the frames, and before the first of them how far the model is, whenever that changes.

    The first frame is awaited in a task of its own: the frames must not be bound to one task
    across a yield, as `asyncio.timeout` would be.
    """
    first = asyncio.ensure_future(anext(frames, None))
    told: Loading | None = None
    seconds = FIRST_SECONDS
    try:
        while not (await asyncio.wait({first}, timeout=seconds))[0]:
            seconds = PAUSE_SECONDS
            loading = progress()
            if loading and loading != told:
                told = loading
                yield loading
        if frame := first.result():
            yield frame
        async for frame in frames:
            yield frame
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await frames.aclose()
