"""The operator's word on pauses between epochs, as the worker is told it."""

from mlx_hub.internal.v1 import worker_pb2 as pb

from services.trainer.guard_messages import pressure_to_proto
from services.trainer.settings import TrainerSettings


def policy(settings: TrainerSettings) -> pb.CooldownPolicy | None:
    """Give the policy; None when there are to be no pauses."""
    if not settings.cooldown_longest_seconds:
        return None
    return pb.CooldownPolicy(
        sensor_file=str(settings.thermal_sensor_file or ""),
        celsius=settings.cooldown_celsius,
        pressure=pressure_to_proto(settings.cooldown_pressure),
        poll_seconds=settings.cooldown_poll_seconds,
        longest_seconds=settings.cooldown_longest_seconds,
    )
