"""Errors leave here and nowhere else: a status of ours, or INTERNAL without a word of text."""

import errno
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from services.chassis.errors import Exhausted, HubError, Internal, Invalid
from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.logs import REQUEST_ID
from services.chassis.requests import Context
from services.chassis.status import DETAILS_KEY, code_of, to_status

log = logging.getLogger("mlx_hub.errors")

type Translator = Callable[[Exception], HubError | None]


class Errors(AroundInterceptor):
    """Turns what a servicer raises into a rich status; lets cancellation through."""

    def __init__(self, translators: tuple[Translator, ...] = ()) -> None:
        """Take functions that know foreign exceptions, such as the database's."""
        self._translators = translators

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Abort with the error's status."""
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await self._abort(method, error, context)

    async def _abort(self, method: str, error: Exception, context: Context) -> None:
        hub_error = error if isinstance(error, HubError) else self.translate(method, error)
        status = to_status(hub_error)
        # Without these two the interceptors outside would see no code.
        context.set_code(code_of(hub_error))
        context.set_details(status.message)
        metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
        if identifier := REQUEST_ID.get():  # what is set for all trailers does not go with these
            metadata.append(("x-request-id", identifier))
        if hub_error.retry_after_s is not None:  # over REST it becomes Retry-After
            metadata.append(("retry-after", str(math.ceil(hub_error.retry_after_s))))
        await context.abort(code_of(hub_error), status.message, tuple(metadata))

    def translate(self, method: str, error: Exception) -> HubError:
        """Give the error to show for an exception that is not ours."""
        for translator in self._translators:
            if known := translator(error):
                if not isinstance(known, Invalid):  # else a caller could fill the log
                    log.warning("%s: %s", method, type(error).__name__, exc_info=error)
                return known
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Exhausted("DISK_FULL", "the data volume is full; free space and try again")
        identifier = REQUEST_ID.get()
        log.error("%s failed", method, exc_info=error)
        return Internal(
            "INTERNAL",
            f"internal error; the log has more under request id {identifier}",
            metadata={"request_id": identifier},
        )
