"""A reader's inbox: merged where the reader is behind, bounded, and in order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import Exhausted, Unavailable
from services.inference import inbox as module
from services.inference.inbox import Inbox

DONE = engine_pb2.EngineEvent(finished=engine_pb2.EngineFinished(request=1, tokens=3))


def delta(text: str, tokens: int) -> engine_pb2.EngineEvent:
    token = completion_pb.LikelyToken(id=tokens, text=text)
    likely = [completion_pb.TokenLogprob(token=token)]
    told = engine_pb2.EngineDelta(request=1, text=text, tokens=tokens, logprobs=likely)
    return engine_pb2.EngineEvent(delta=told)


@given(st.lists(st.tuples(st.text(max_size=3), st.booleans()), max_size=20))
def test_whatever_the_reader_misses_comes_merged_and_in_order(
    pieces: list[tuple[str, bool]],
) -> None:
    async def read() -> list[engine_pb2.EngineEvent]:
        inbox, read = Inbox(), []
        for number, (text, reads) in enumerate(pieces, 1):
            inbox.put(delta(text, number))
            if reads:
                read.append(await inbox.get())
        inbox.put(DONE)
        while not read or not read[-1].HasField("finished"):
            read.append(await inbox.get())
        assert inbox.unread == 0
        return read

    *deltas, last = asyncio.run(read())
    assert last == DONE
    assert "".join(event.delta.text for event in deltas) == "".join(text for text, _ in pieces)
    numbers = [entry.token.id for event in deltas for entry in event.delta.logprobs]
    assert numbers == list(range(1, len(pieces) + 1))
    assert all(e.delta.tokens == e.delta.logprobs[-1].token.id for e in deltas)


async def test_a_reader_too_far_behind_is_cut_and_holds_nothing() -> None:
    inbox = Inbox()
    for number in range(10_000):
        inbox.put(delta("x" * 1000, number))
        assert inbox.unread <= module.MAX_UNREAD_BYTES
        if inbox.over:
            break
    assert (inbox.over, inbox.unread) == (True, 0)
    inbox.put(DONE)
    for _ in range(2):
        with pytest.raises(Exhausted) as caught:
            await inbox.get()
        assert caught.value.reason == "READER_TOO_SLOW"


async def test_one_who_waits_hears_of_the_end() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.fail(Unavailable("ENGINE_DIED", "gone"))
    with pytest.raises(Unavailable):
        await waiting
