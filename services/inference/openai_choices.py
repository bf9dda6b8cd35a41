"""Several answers to one request, side by side: all of them come, or the request fails."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from mlx_hub.inference.v1 import generation_pb2 as pb

from services.inference.answering import Answering
from services.inference.caller import Caller
from services.inference.domain import Answer, Delta, Loading
from services.inference.openai_requests import Asked

type Frame = Delta | Loading | Answer
type Frames = AsyncGenerator[Frame, None]
type Indexed = AsyncGenerator[tuple[int, Frame], None]

_SEEDS = 2**31


def generation_id(reply_id: str, index: int) -> str:
    """Name a choice's generation: the first as the whole reply."""
    return f"{reply_id}-{index}" if index else reply_id


def requests_of(asked: Asked) -> list[pb.GenerateRequest]:
    """Give a request for each choice, `n` for each prompt.

    The k-th choice of a prompt is what its seed plus k gives, so each can be had again alone.
    """
    found: list[pb.GenerateRequest] = []
    for request in asked.requests:
        for number in range(asked.n):
            choice = pb.GenerateRequest()
            choice.CopyFrom(request)
            if request.HasField("seed"):
                choice.seed = (request.seed + number) % _SEEDS
            found.append(choice)
    return found


def answers(
    answering: Answering, asked: Asked, reply_id: str, caller: Callable[[], Caller]
) -> Indexed:
    """Yield every choice's frames with its index.

    A prompt's first choice reads it, and the others begin when it is read: they find it in the
    prefix cache.
    """
    runs: list[Frames] = []
    for index, request in enumerate(requests_of(asked)):
        if index % asked.n == 0:
            read = asyncio.Event()
        name = generation_id(reply_id, index)
        run = partial(answering.answer, request, generation_id=name, whole=not asked.stream)
        runs.append(_run(run, caller, read, leads=index % asked.n == 0))
    return side_by_side(runs)


async def side_by_side[T](runs: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T]]:
    """Yield what several generators yield as it comes, with their index.

    The error of one ends all, and so does closing.
    """
    tasks = {asyncio.ensure_future(anext(run, None)): index for index, run in enumerate(runs)}
    try:
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.__getitem__):
                frame = task.result()
                index = tasks.pop(task)
                if frame is not None:
                    tasks[asyncio.ensure_future(anext(runs[index], None))] = index
                    yield index, frame
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in runs:
            await run.aclose()


async def _run(
    run: Callable[[Caller], Frames],
    caller: Callable[[], Caller],
    read: asyncio.Event,
    *,
    leads: bool,
) -> Frames:
    if not leads:
        await read.wait()
    async with aclosing(run(caller())) as frames:
        async for frame in frames:
            if not isinstance(frame, Loading):
                read.set()
            yield frame
