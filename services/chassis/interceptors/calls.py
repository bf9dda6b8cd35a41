"""What a call is named and how it ended."""

import grpc

from services.chassis.requests import Context


def code_of(context: Context) -> grpc.StatusCode:
    """Give the status a call ended with, as far as it was set."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((c for c in grpc.StatusCode if c.value[0] == code), grpc.StatusCode.OK)


def split(method: str) -> tuple[str, str]:
    """Split `/package.Service/Method`."""
    service, _, name = method.lstrip("/").partition("/")
    return service, name
