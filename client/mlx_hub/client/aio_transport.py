"""Carrying calls over an asyncio channel."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import Message
from grpc import aio
from mlx_hub.client import channel as settings
from mlx_hub.client.contract import Call, Find, Pages
from mlx_hub.client.errors import HubError, from_rpc
from mlx_hub.client.retry import Budget, policy
from mlx_hub.client.upload import Sending, Upload
from mlx_hub.client.watch import Cursor
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_log_pb2 import TrainingLogEvent
from tenacity import AsyncRetrying


class Transport:
    """Carries calls over one channel."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self.channel = aio.insecure_channel(address, options=settings.OPTIONS)

    async def unary[R: Message](self, call: Call[R]) -> R:
        deadline = call.deadline(self._timeout)
        budget = Budget(deadline)
        rpc = self.channel.unary_unary(
            call.path, type(call.request).SerializeToString, call.reply.FromString
        )

        async def attempt() -> R:
            try:
                return await rpc(call.request, timeout=budget.left())
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return await AsyncRetrying(**policy(call.repeatable, deadline))(attempt)

    async def upload[R: Message](self, call: Upload[R]) -> R:
        budget = Budget(call.timeout)
        rpc = self.channel.stream_unary(
            call.path, type(call.request).SerializeToString, call.reply.FromString
        )

        async def attempt() -> R:
            sending = await asyncio.to_thread(Sending, call.messages())
            try:
                return await rpc(aiter(sending), timeout=budget.left())
            except asyncio.CancelledError:
                if sending.broken:
                    raise sending.broken from None
                raise
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return await AsyncRetrying(**policy(call.repeatable, call.timeout))(attempt)

    async def pages[P: Message, I](self, pages: Pages[P, I]) -> AsyncIterator[I]:
        rest: Pages[P, I] | None = pages
        while rest is not None:
            page = await self.unary(rest.call)
            for item in rest.items(page):
                yield item
            rest = rest.after(page)

    async def find[P: Message, I](self, find: Find[P, I]) -> I:
        async for item in self.pages(find.pages):
            if find.matches(item):
                return item
        raise find.missing

    def stream[R: Message](
        self, call: Call[R], timeout: float | None = None
    ) -> "aio.UnaryStreamCall[Message, R]":
        rpc = self.channel.unary_stream(
            call.path, type(call.request).SerializeToString, call.reply.FromString
        )
        return rpc(call.request, timeout=timeout)

    async def follow[F: TrainingEvent | TrainingLogEvent, I](
        self, cursor: Cursor[F, I]
    ) -> AsyncIterator[I]:
        while True:
            frames = self.stream(cursor.call())
            try:
                async for frame in frames:
                    if (fresh := cursor.accept(frame)) is not None:
                        yield fresh
                return
            except grpc.RpcError as error:
                pause = cursor.pause(from_rpc(error, self.address))
            except HubError as error:
                pause = cursor.pause(error)
            finally:
                frames.cancel()
            await asyncio.sleep(pause)
