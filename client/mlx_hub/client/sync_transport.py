"""How calls travel over a blocking channel."""

import time
from collections.abc import Iterable, Iterator
from copy import copy
from typing import Self

import grpc
from google.protobuf.message import Message
from mlx_hub.client.channel import Connection, Guard
from mlx_hub.client.contract import Call, Find, Generation, Pages
from mlx_hub.client.download import Download, Export, Saving, broken_off
from mlx_hub.client.errors import HubError, from_rpc
from mlx_hub.client.retry import Budget, policy
from mlx_hub.client.stream import Incoming, TokenStream
from mlx_hub.client.upload import Sending, Upload
from mlx_hub.client.watch import Cursor, Frame
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent
from mlx_hub.registry.v1.export_pb2 import VersionExport
from tenacity import Retrying


class Transport:
    """Carries calls over one channel."""

    def __init__(self, connection: Connection) -> None:
        self.address = connection.shown
        self._connection = connection
        self._within: float | None = None
        self._guard = Guard()
        self._channel = connection.open(grpc.insecure_channel, grpc.secure_channel)

    def within(self, seconds: float) -> Self:
        """The same channel for calls that give up after so many seconds."""
        view = copy(self)
        view._within = seconds
        return view

    def close(self) -> None:
        self._guard.closed = True
        self._channel.close()

    def unary[R: Message](self, call: Call[R]) -> R:
        channel, deadline = self._opened(), self._deadline(call)
        budget = Budget(deadline)
        rpc = channel.unary_unary(*call.wire)

        def attempt() -> R:
            try:
                return rpc(call.request, timeout=budget.left(), metadata=self._connection.metadata)
            except grpc.RpcError as error:
                raise from_rpc(error, self.address) from error

        return Retrying(**policy(call, deadline))(attempt)

    def upload[R: Message](self, call: Upload[R]) -> R:
        channel, deadline = self._opened(), self._deadline(call)
        budget, metadata = Budget(deadline), self._connection.metadata
        rpc = channel.stream_unary(*call.wire)

        def attempt() -> R:
            sending = Sending(call.messages())
            try:
                return rpc(iter(sending), timeout=budget.left(), metadata=metadata)
            except grpc.RpcError as error:
                raise (sending.broken or from_rpc(error, self.address)) from error

        return Retrying(**policy(call, deadline))(attempt)

    def download[R: Message](self, download: Download[R]) -> R:
        budget = Budget(download.deadline(self._within))
        found = self.unary(download.ask)
        self._bring(download.files(found), budget)
        return found

    def export(self, export: Export) -> VersionExport:
        found = [*self.follow(export.cursor)]
        if not found:
            raise broken_off("the export's")
        self._bring(export.files(found[0]), Budget(self._within))
        return found[0]

    def _bring(self, files: Iterable[Saving], budget: Budget) -> None:
        for saving in files:
            with saving:
                self._receive(saving, budget)

    def _receive(self, saving: Saving, budget: Budget) -> None:
        while True:
            frames = self._stream(saving.call(), budget)
            try:
                for frame in frames:
                    saving.accept(frame)
                saving.finish()
                return
            except grpc.RpcError as error:
                pause = saving.pause(from_rpc(error, self.address))
            except HubError as error:
                pause = saving.pause(error)
            finally:
                frames.cancel()
            time.sleep(budget.pause(pause))

    def pages[P: Message, I](self, pages: Pages[P, I]) -> Iterator[I]:
        rest: Pages[P, I] | None = pages
        while rest is not None:
            page = self.unary(rest.call)
            yield from rest.items(page)
            rest = rest.after(page)

    def find[P: Message, I](self, find: Find[P, I]) -> I:
        for item in self.pages(find.pages):
            if find.matches(item):
                return item
        raise find.missing

    def tokens(self, call: Generation[GenerateEvent]) -> TokenStream:
        deadline = self._deadline(call)
        budget = Budget(deadline)
        again = Retrying(**policy(call, deadline))
        return TokenStream(lambda: self._stream(call, budget), again, self.address)

    def follow[F: Frame, I](self, cursor: Cursor[F, I]) -> Iterator[I]:
        budget = Budget(self._within)
        while True:
            frames = self._stream(cursor.call(), budget)
            try:
                for frame in frames:
                    if (fresh := cursor.accept(frame)) is not None:
                        yield fresh
                return
            except grpc.RpcError as error:
                pause = cursor.pause(from_rpc(error, self.address))
            except HubError as error:
                pause = cursor.pause(error)
            finally:
                frames.cancel()
            time.sleep(budget.pause(pause))

    def _stream[R: Message](self, call: Call[R], budget: Budget) -> Incoming[R]:
        rpc = self._opened().unary_stream(*call.wire)
        return rpc(call.request, timeout=budget.left(), metadata=self._connection.metadata)

    def _deadline[R: Message](self, call: Call[R]) -> float | None:
        return call.deadline(self._connection.timeout, self._within)

    def _opened(self) -> grpc.Channel:
        self._guard.check()
        return self._channel
