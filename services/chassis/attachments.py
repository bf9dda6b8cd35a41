"""Files as the answer to a call: a body of known length over REST, a plain stream over gRPC."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from google.api.httpbody_pb2 import HttpBody

from services.chassis.requests import Context


async def attachment(
    context: Context, name: str, size: int, bodies: AsyncGenerator[HttpBody]
) -> AsyncIterator[HttpBody]:
    """Send a file's pieces; the gateway makes headers of its name and of the size that is left.

    The headers wait for the first piece: an error before it is an error like any other, and one
    after it a body that ends before its length.
    """
    begun = False
    async with aclosing(bodies):
        async for body in bodies:
            if not begun:
                disposition = f'attachment; filename="{name}"'
                headers = (("x-http-length", str(size)), ("content-disposition", disposition))
                await context.send_initial_metadata(headers)
                begun = True
            yield body
