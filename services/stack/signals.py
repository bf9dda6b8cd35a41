"""Signals end a stack the orderly way."""

import contextlib
import signal
from collections.abc import Iterator

from services.stack.stack import Stack

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stops_on_signals(stack: Stack) -> Iterator[None]:
    """Turn the signals that end a program into an orderly stop, however often they come."""
    before = {number: signal.getsignal(number) for number in _ENDS}
    for number in _ENDS:
        signal.signal(number, lambda *_: stack.request_stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
