"""A job's events on memory, as the contract's messages."""

from dataclasses import asdict

from mlx_hub.trainer.v1 import training_memory_pb2 as pb

from services.trainer.forecast import Forecast
from services.trainer.reports import MemoryWait


def forecast_to_proto(forecast: Forecast) -> pb.TrainingForecast:
    """Render a forecast."""
    return pb.TrainingForecast(**asdict(forecast), total_bytes=forecast.total_bytes)


def wait_to_proto(wait: MemoryWait) -> pb.MemoryWait:
    """Render what a job waits for."""
    room = pb.MemoryRoom(
        budget_bytes=wait.budget_bytes, held_bytes=wait.held_bytes, free_bytes=wait.free_bytes
    )
    return pb.MemoryWait(
        needed_bytes=wait.needed_bytes, room=room, at_most_seconds=wait.at_most_seconds
    )
