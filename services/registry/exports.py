"""Exports of versions: made by a child, once for all who ask, and kept for a while."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version as release

from mlx_hub.registry.v1 import publication_pb2

from services.chassis.errors import Invalid
from services.chassis.leases import Lease, Ledger, NoRoom, gigabytes, out_of_memory
from services.registry import exporter
from services.registry.artifacts import Artifacts
from services.registry.domain import BASE
from services.registry.flights import Flights
from services.registry.messages.resolved import to_resolved
from services.registry.resolution import Resolver
from services.registry.shelf import Export, Label, Shelf
from services.runtime.exchange import wanted
from services.runtime.exchange.order import Order
from services.runtime.exchange.wanted import Wish

log = logging.getLogger(__name__)

# Raise it when the same version, asked for in the same way, becomes another export.
REVISION = 1
# Who waits longer than this for his turn is told so.
PATIENCE_S = 1.0
WAITING, STARTING = "waiting for its turn", "starting its process"
# How often an export that lacks memory looks again, and how often in all.
LOOK_S, LOOKS = 0.25, 120
SWEEP_S = 60.0


class _Steps:
    """What was said of an export that is being made; who comes later hears it all."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.more = asyncio.Event()
        """Set with the next step, and then another one."""

    def say(self, step: str) -> None:
        self.said.append(step)
        self.more.set()
        self.more = asyncio.Event()


class Exports:
    """Gives a version as a folder that needs no hub."""

    def __init__(
        self, resolver: Resolver, artifacts: Artifacts, shelf: Shelf, ledger: Ledger
    ) -> None:
        """Know where versions come from, where exports are kept, and whom to ask for memory."""
        self._resolver = resolver
        self._archive = artifacts.archive
        self.shelf = shelf
        self.ledger = ledger
        self._flights: Flights[str, Export] = Flights(what="exports")
        self._steps: dict[str, _Steps] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Remove what was left half-written, and from now on what is too old."""
        await asyncio.to_thread(self.shelf.clear)
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """End what is under way and leave no process behind."""
        if self._sweeping:
            self._sweeping.cancel()
        await self._flights.close()

    async def export(
        self, model_id: int, reference: str, wish: Wish
    ) -> AsyncGenerator[str | Export]:
        """Tell each step in words, and then give the export; at once if it is kept already."""
        if reference == BASE:
            text = "the base model is no version; name one by number or alias"
            raise Invalid("INVALID_FIELD", text, field="version")
        resolved = to_resolved(await self._resolver.resolve(model_id, reference))
        order = wanted.order_of(resolved, wish, self._archive.joinpath)
        label = Label(model_id, order.version, _digest(order, wish))
        if kept := await asyncio.to_thread(self.shelf.renew, label):
            yield kept
            return
        steps = self._steps.setdefault(label.name, _Steps())
        work = partial(self._make, label, resolved, order, wish, steps.say)
        making = asyncio.create_task(self._flights.join(label.name, work))
        try:
            async for step in _heard(steps, making):
                yield step
            yield await making
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            if label.name not in self._flights:
                self._steps.pop(label.name, None)

    async def _make(
        self,
        label: Label,
        resolved: publication_pb2.ResolvedModel,
        order: Order,
        wish: Wish,
        say: exporter.Say,
    ) -> Export:
        await asyncio.to_thread(self.shelf.make_room, wanted.disk_bytes(resolved, wish))
        needed = await asyncio.to_thread(wanted.memory_bytes, resolved, wish, order)
        with await self._lease(needed, say) as lease:
            say(STARTING)
            async with self.shelf.staging() as staging:
                folder, work = staging / "folder", staging / "work"
                folder.mkdir()
                await exporter.export(wish.form, order, folder, work, lease, say)
                return await _to_its_end(partial(self.shelf.place, folder, label))

    async def _lease(self, needed: int, say: exporter.Say) -> Lease:
        """Lease what the child will hold; idle engines give way to who waits."""
        with await asyncio.to_thread(self.ledger.wish, "export", needed):
            for look in range(LOOKS):
                try:
                    return await asyncio.to_thread(self.ledger.take, "export", needed, first=True)
                except NoRoom as error:
                    room = error.room
                if needed > room.budget:
                    break
                if look == 0:
                    say("waiting for memory")
                await asyncio.sleep(LOOK_S)
        raise out_of_memory(
            f"the export needs {gigabytes(needed)} of memory, {gigabytes(room.free)} of the "
            f"{gigabytes(room.budget)} that the hub may use are free",
            needed,
            room,
            10 if needed <= room.budget else None,
        )

    async def _sweep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.shelf.sweep)
            except OSError as error:
                log.warning("old exports can't be removed: %s", error.strerror)
            await asyncio.sleep(SWEEP_S)


async def _heard(steps: _Steps, making: asyncio.Task[Export]) -> AsyncGenerator[str]:
    """Give what is said until the work is done, also what was said before."""
    told = 0
    while True:
        for step in steps.said[told:]:
            told += 1
            yield step
        if making.done():
            return
        more = asyncio.create_task(steps.more.wait())
        patience = None if told else PATIENCE_S
        try:
            await asyncio.wait(
                (making, more), timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
        finally:  # who asks may leave meanwhile
            more.cancel()
        if not (told or steps.said or making.done()):
            steps.say(WAITING)


async def _to_its_end[T](work: Callable[[], T]) -> T:
    """Do work in a thread, also when cancelled meanwhile: what it reads must not go away."""
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def _digest(order: Order, wish: Wish) -> str:
    """Hash all that decides the export, and no place of this node."""
    facts = asdict(order)
    del facts["base_path"], facts["adapter_path"]
    if facts["held_out"]:
        del facts["held_out"]["path"]
    code = {"revision": REVISION, "form": wish.form, "mlx-hub": release("mlx-hub")}
    return hashlib.sha256(json.dumps({**facts, **code}, sort_keys=True).encode()).hexdigest()
