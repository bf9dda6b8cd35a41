"""What a call is named and how it ended."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from services.chassis.requests import Context

_CODES = {code.value[0]: code for code in grpc.StatusCode}


@contextmanager
def ending(context: Context, told: Callable[[grpc.StatusCode], None]) -> Iterator[None]:
    """Tell the status of a call that runs inside, however it ends: who left is no success."""
    left = False
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        left = True
        raise
    finally:
        told(grpc.StatusCode.CANCELLED if left or context.cancelled() else _code_of(context))


def _code_of(context: Context) -> grpc.StatusCode:
    """Give the status a call ended with, as far as it was set."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.OK)


def split(method: str) -> tuple[str, str]:
    """Split `/package.Service/Method`."""
    service, _, name = method.lstrip("/").partition("/")
    return service, name
