"""Frames of both sides: whole, split, bounded, broken, ended."""

import asyncio
import socket
import threading

import pytest
from mlx_hub.internal.v1 import engine_pb2 as pb

from services.chassis import frames as parent
from services.runtime import frames as child
from services.runtime.frames import Frames


def delta(number: int, text: str) -> pb.EngineEvent:
    return pb.EngineEvent(delta=pb.EngineDelta(request=number, text=text))


async def test_frames_of_every_size_pass_both_ways() -> None:
    reader, writer, theirs = await parent.open_pair()
    frames = Frames(theirs)

    def echo() -> None:
        while (command := frames.read(pb.EngineCommand)) is not None:
            number = command.cancel.request
            frames.write(delta(number, "é" * number))
        frames.close()

    thread = threading.Thread(target=echo)
    thread.start()
    for number in (0, 1, 63, 64, 127, 128, 20_000, 200_000):
        command = pb.EngineCommand(cancel=pb.CancelCommand(request=number))
        await parent.write_frame(writer, command)
        event = await parent.read_frame(reader, pb.EngineEvent)
        assert event == delta(number, "é" * number)
    writer.close()
    assert await parent.read_frame(reader, pb.EngineEvent) is None
    thread.join()


async def test_an_empty_message_is_a_frame() -> None:
    reader, writer, theirs = await parent.open_pair()
    frames = Frames(theirs)
    frames.write(pb.EngineEvent())
    assert await parent.read_frame(reader, pb.EngineEvent) == pb.EngineEvent()
    writer.close()
    frames.close()


@pytest.mark.parametrize("cut", [0, 1, 3])
async def test_a_killed_child_ends_anywhere(cut: int) -> None:
    reader, writer, theirs = await parent.open_pair()
    theirs.sendall(b"\x90\x01" + b"x" * 10 if cut > 1 else b"\x90"[:cut])
    theirs.close()
    assert await parent.read_frame(reader, pb.EngineEvent) is None
    writer.close()


@pytest.mark.parametrize("wrong", [b"\xff" * 11, b"\xff\xff\xff\xff\x7f", b"\x03\xff\xff\xff"])
async def test_what_is_no_frame_is_refused_by_both(wrong: bytes) -> None:
    reader, writer, theirs = await parent.open_pair()
    theirs.sendall(wrong)
    with pytest.raises(parent.FrameError):
        await parent.read_frame(reader, pb.EngineEvent)
    writer.close()
    theirs.close()
    ours, other = socket.socketpair()
    other.sendall(wrong)
    other.close()
    frames = Frames(ours)
    with pytest.raises(child.FrameError):
        frames.read(pb.EngineEvent)
    frames.close()


async def test_too_large_a_message_is_not_sent() -> None:
    large = delta(1, "x" * (parent.MAX_FRAME_BYTES + 1))
    _reader, writer, theirs = await parent.open_pair()
    with pytest.raises(parent.FrameError):
        parent.send_frame(writer, large)
    frames = Frames(theirs)
    with pytest.raises(child.FrameError):
        frames.write(large)
    frames.close()
    writer.close()


async def test_writing_to_a_dead_child_is_an_error_only_when_waited_for() -> None:
    _reader, writer, theirs = await parent.open_pair()
    theirs.close()
    await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        for _ in range(100):
            await parent.write_frame(writer, delta(1, "x"))
    writer.close()
