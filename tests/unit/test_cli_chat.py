"""Ctrl-C in a chat: it ends the answer from outside of gRPC, which it could leave locked."""

import signal
from collections.abc import Iterator
from typing import Any, cast

import pytest
from mlx_hub.cli.chat import Chat
from mlx_hub.client import TokenStream
from mlx_hub.client.errors import Cancelled


class Pressed:
    """A stream while which Ctrl-C is pressed, in the middle of what must not be left half done."""

    def __init__(self, presses: int = 1) -> None:
        self.on_loading = None
        self.whole = False
        self._presses = presses
        self._texts = iter(["Once", " upon"])
        self._closed = False

    def __iter__(self) -> "Pressed":
        return self

    def __next__(self) -> str:
        if (text := next(self._texts, None)) == "Once":
            return text
        for _ in range(self._presses):
            signal.raise_signal(signal.SIGINT)
        self.whole = True
        while not self._closed:
            signal.sigtimedwait((), 0.01)
        raise Cancelled("the call was cancelled")

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> "Pressed":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    """Give Ctrl-C its usual meaning; what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def chat(stream: Pressed) -> Chat:
    return Chat(lambda _: cast(TokenStream, cast(Any, stream)), typed=True)


def test_ctrl_c_keeps_what_came_and_breaks_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Pressed()
    talk = chat(stream)
    talk._take("Tell me a story.")
    assert stream.whole
    assert [turn["content"] for turn in talk.turns] == ["Tell me a story.", "Once"]
    assert capsys.readouterr() == ("Once\n", "stopped\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_waits_for_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        chat(Pressed(presses=2))._take("Tell me a story.")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
