"""One line per call, and the request id that ties every other line to it."""

import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from services.chassis import logs
from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.interceptors.calls import ending
from services.chassis.logs import REQUEST_ID
from services.chassis.requests import Context, metadata_of

log = logging.getLogger("mlx_hub.access")

# The gateway's guard.lua asks the same of ids that come from outside.
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
# A key's name, set by the gateway, or what a caller calls itself.
_CALLER, _NAME = "x-mlx-hub-caller", re.compile(r"[!-~]{1,100}")


class AccessLog(AroundInterceptor):
    """Takes the caller's `x-request-id` if it is harmless, else makes one."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Log method, code and duration when the call ends, however it ends."""
        given = metadata_of(context, "x-request-id")
        identifier = given if _SAFE_ID.fullmatch(given) else uuid.uuid4().hex
        REQUEST_ID.set(identifier)
        context.set_trailing_metadata((("x-request-id", identifier),))
        notes = logs.open_notes()
        start = time.perf_counter()

        def write(code: grpc.StatusCode) -> None:
            millis = round((time.perf_counter() - start) * 1000, 1)
            caller = metadata_of(context, _CALLER)
            known = {"caller": caller} if _NAME.fullmatch(caller) else {}
            extra = {"method": method, "code": code.name, "ms": millis, **known, **notes}
            log.info("%s %s %.1f ms", method, code.name, millis, extra=extra)

        with ending(context, write):
            yield
