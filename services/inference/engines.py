"""Engines by request: what is in memory, what shall be, and what shall not."""

from collections.abc import Iterable

from mlx_hub.inference.v1 import residency_pb2 as pb

from services.chassis import traces
from services.inference import engine_metrics
from services.inference.answering import Resolves
from services.inference.drafts import DraftModels
from services.inference.quarantine import Quarantine
from services.inference.residency import Residency
from services.inference.residency_messages import (
    engine_of,
    pair_to_proto,
    room_to_proto,
    state_of,
    suspect_to_proto,
)
from services.inference.seat import Seat


class Engines:
    """What an operator asks of residency, in the contract's messages."""

    def __init__(
        self,
        catalogue: Resolves,
        residency: Residency,
        quarantine: Quarantine,
        drafts: DraftModels,
    ) -> None:
        """Take who resolves, who keeps the engines, who remembers what ended them, who drafts."""
        self._catalogue = catalogue
        self._drafts = drafts
        self._residency = residency
        self._quarantine = quarantine

    async def list(self) -> pb.ListEnginesResponse:
        """Tell what is in memory and what became of what is not."""
        suspects = self._quarantine.suspects()
        return pb.ListEnginesResponse(
            engines=_shown(self._residency.seats),
            memory=room_to_proto(await self._residency.rooms.room()),
            suspects=[suspect_to_proto(suspect, self._quarantine) for suspect in suspects],
            draft_pairs=map(pair_to_proto, await self._drafts.pairs()),
        )

    async def load(self, request: pb.LoadModelRequest) -> pb.Engine:
        """Bring an engine into memory."""
        target = await self._catalogue.resolve(request.model_id, request.version)
        pin = request.pin if request.HasField("pin") else None
        keep = request.keep_alive_seconds if request.HasField("keep_alive_seconds") else None
        with traces.span("load", {"mlx_hub.base_model": target.base.name}):
            return engine_of(await self._residency.load(target.base, pin, keep))

    async def unload(self, request: pb.UnloadModelRequest) -> None:
        """End an engine."""
        target = await self._catalogue.resolve(request.model_id, request.version)
        await self._residency.unload(target.base, force=request.force)

    def measure(self) -> None:
        """Show every engine's state to Prometheus."""
        engine_metrics.ENGINES.seen(_shown(self._residency.seats))


def _shown(seats: Iterable[Seat]) -> list[pb.Engine]:
    """Leave those out that are empty, as they should be."""
    return [engine_of(seat) for seat in seats if state_of(seat)]
