"""The pause between two epochs of a machine that is too hot; it changes nothing that is trained."""

import time
from pathlib import Path

import mlx.core as mx
from mlx_hub.internal.v1 import worker_pb2 as pb

from services.chassis.thermal import Limit, Pressure, Reading, open_sensor
from services.trainer.guard_messages import pressure_from_proto
from services.trainer.reports import CooldownBegan, CooldownEnded
from services.trainer.worker.link import Link


class Cooldown:
    """Waits until the sensor reads below the operator's limit, or for as long as it may."""

    def __init__(self, policy: pb.CooldownPolicy, link: Link) -> None:
        """Open the sensor."""
        pressure = Pressure(pressure_from_proto(policy.pressure) or Pressure.HEAVY)
        self._limit = Limit(policy.celsius, pressure)
        self._sensor = open_sensor(Path(policy.sensor_file) if policy.sensor_file else None)
        self._poll_seconds = policy.poll_seconds
        self._longest_seconds = policy.longest_seconds
        self._link = link

    def __call__(self, step: int) -> None:
        """Pause if it is too hot; a stop ends the pause at once."""
        reading = self._sensor()
        if reading is not None and self._limit.exceeded(reading):
            self._pause(step, reading)

    def _pause(self, step: int, reading: Reading) -> None:
        mx.clear_cache()
        start, hot, waited = time.monotonic(), True, 0.0
        self._link.report(CooldownBegan(step, reading.celsius, reading.pressure))
        try:
            while hot and waited < self._longest_seconds:
                self._link.poll(step)
                self._link.pause(min(self._poll_seconds, self._longest_seconds - waited))
                waited = time.monotonic() - start
                hot = self._limit.exceeded(self._sensor())
        finally:
            over = hot and waited >= self._longest_seconds
            self._link.report(CooldownEnded(step, waited, over))
