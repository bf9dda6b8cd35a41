"""What the engine says of its way into memory."""

import time
from collections.abc import Callable

from mlx_hub.inference.v1 import residency_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

PAUSE_SECONDS = 0.25


class LoadingReport:
    """Tells each stage at once, and how far it is a few times a second."""

    def __init__(self, write: Callable[[engine_pb2.EngineEvent], None]) -> None:
        """Take where events go."""
        self._write = write
        self._due = 0.0

    def weights(self, share: float) -> None:
        """Tell how much of the weights is there."""
        if (now := time.monotonic()) >= self._due:
            self._due = now + PAUSE_SECONDS
            self._tell(pb.LOADING_STAGE_WEIGHTS, share)

    def warming_up(self) -> None:
        """Tell that the weights are there and the first pass runs."""
        self._tell(pb.LOADING_STAGE_WARMING_UP, 0.0)

    def _tell(self, stage: pb.LoadingStage.ValueType, share: float) -> None:
        loading = pb.Loading(stage=stage, share=share)
        self._write(engine_pb2.EngineEvent(loading=loading))
