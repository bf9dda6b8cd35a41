"""How calls travel over an asyncio channel."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from copy import copy
from typing import Self

import grpc
from google.protobuf.message import Message
from grpc import aio
from mlx_hub.client.channel import Connection, Guard
from mlx_hub.client.contract import Call, Find, Generation, Pages
from mlx_hub.client.download import Download, Export, Saving, broken_off
from mlx_hub.client.errors import HubError, from_rpc
from mlx_hub.client.retry import Budget, policy
from mlx_hub.client.stream import AsyncTokenStream
from mlx_hub.client.upload import Sending, Upload
from mlx_hub.client.watch import Cursor, Frame
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent
from mlx_hub.registry.v1.export_pb2 import VersionExport
from tenacity import AsyncRetrying


class Transport:
    """Carries calls over one channel."""

    def __init__(self, connection: Connection) -> None:
        self.address = connection.shown
        self._connection = connection
        self._within: float | None = None
        self._guard = Guard()
        # One channel for all views, made in the event loop that uses it, which may be a later one.
        self._channels: list[aio.Channel] = []

    def within(self, seconds: float) -> Self:
        """The same channel for calls that give up after so many seconds."""
        view = copy(self)
        view._within = seconds
        return view

    async def close(self) -> None:
        self._guard.closed = True
        for channel in self._channels:
            await channel.close()

    async def unary[R: Message](self, call: Call[R]) -> R:
        channel, deadline = self._opened(), self._deadline(call)
        budget, metadata = Budget(deadline), self._connection.metadata
        rpc = channel.unary_unary(*call.wire)

        async def attempt() -> R:
            try:
                return await rpc(call.request, timeout=budget.left(), metadata=metadata)
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return await AsyncRetrying(**policy(call, deadline))(attempt)

    async def upload[R: Message](self, call: Upload[R]) -> R:
        channel, deadline = self._opened(), self._deadline(call)
        budget, metadata = Budget(deadline), self._connection.metadata
        rpc = channel.stream_unary(*call.wire)

        async def attempt() -> R:
            sending = await asyncio.to_thread(Sending, call.messages())
            try:
                return await rpc(aiter(sending), timeout=budget.left(), metadata=metadata)
            except asyncio.CancelledError:
                if sending.broken:
                    raise sending.broken from None
                raise
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return await AsyncRetrying(**policy(call, deadline))(attempt)

    async def download[R: Message](self, download: Download[R]) -> R:
        budget = Budget(download.deadline(self._within))
        found = await self.unary(download.ask)
        await self._bring(download.files(found), budget)
        return found

    async def export(self, export: Export) -> VersionExport:
        found = [item async for item in self.follow(export.cursor)]
        if not found:
            raise broken_off("the export's")
        await self._bring(export.files(found[0]), Budget(self._within))
        return found[0]

    async def _bring(self, files: Iterable[Saving], budget: Budget) -> None:
        for saving in files:
            with saving:
                await self._receive(saving, budget)

    async def _receive(self, saving: Saving, budget: Budget) -> None:
        while True:
            frames = self._stream(saving.call(), budget)
            try:
                async for frame in frames:
                    await asyncio.to_thread(saving.accept, frame)
                await asyncio.to_thread(saving.finish)
                return
            except grpc.RpcError as error:
                pause = saving.pause(from_rpc(error, self.address))
            except HubError as error:
                pause = saving.pause(error)
            finally:
                frames.cancel()
            await asyncio.sleep(budget.pause(pause))

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

    def tokens(self, call: Generation[GenerateEvent]) -> AsyncTokenStream:
        deadline = self._deadline(call)
        budget = Budget(deadline)
        again = AsyncRetrying(**policy(call, deadline))
        return AsyncTokenStream(lambda: self._stream(call, budget), again, self.address)

    async def follow[F: Frame, I](self, cursor: Cursor[F, I]) -> AsyncIterator[I]:
        budget = Budget(self._within)
        while True:
            frames = self._stream(cursor.call(), budget)
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
            await asyncio.sleep(budget.pause(pause))

    def _stream[R: Message](
        self, call: Call[R], budget: Budget
    ) -> "aio.UnaryStreamCall[Message, R]":
        rpc = self._opened().unary_stream(*call.wire)
        return rpc(call.request, timeout=budget.left(), metadata=self._connection.metadata)

    def _deadline[R: Message](self, call: Call[R]) -> float | None:
        return call.deadline(self._connection.timeout, self._within)

    def _opened(self) -> aio.Channel:
        self._guard.check(asyncio.get_running_loop())
        if not self._channels:
            self._channels.append(self._connection.open(aio.insecure_channel, aio.secure_channel))
        return self._channels[0]
