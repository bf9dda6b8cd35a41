"""What an operator may set for the trainer."""

import platform
from typing import Literal

from pydantic import Field

from services.chassis.settings import Folder, HubSettings


class TrainerSettings(HubSettings):
    """The trainer's own settings, each with its bounds."""

    database_url: str = Field(
        validation_alias="DATABASE_URL", pattern=r"^postgres(ql)?(\+psycopg)?://"
    )
    """DATABASE_URL: the trainer can't be without one."""
    node: str = Field(default_factory=platform.node, min_length=1, max_length=200)
    """MLX_HUB_NODE: one job at a time runs on each node; default the host's name."""
    lease_seconds: float = Field(default=30, ge=1, le=3600)
    """MLX_HUB_LEASE_SECONDS: how long a job stays with a trainer that has gone silent."""
    retry_seconds: float = Field(default=5, ge=0, le=3600)
    """MLX_HUB_RETRY_SECONDS: a job's pause after its first lost attempt; it doubles with each."""
    poll_seconds: float = Field(default=2, ge=0.05, le=60)
    """MLX_HUB_POLL_SECONDS: how often to look at the queue when no notification arrives."""
    memory_wait_seconds: float = Field(default=600, ge=0, le=86_400)
    """MLX_HUB_MEMORY_WAIT_SECONDS: how long a job may wait for memory that others hold; then it
    fails with OUT_OF_MEMORY."""
    worker_stop_seconds: float = Field(default=15, ge=0, le=600)
    """MLX_HUB_WORKER_STOP_SECONDS: for the running step and its checkpoint at shutdown."""
    cooldown_celsius: float = Field(default=95, ge=20, le=150)
    """MLX_HUB_COOLDOWN_CELSIUS: from here on training pauses at the end of an epoch."""
    cooldown_pressure: Literal["moderate", "heavy", "trapping"] = "heavy"
    """MLX_HUB_COOLDOWN_PRESSURE: the same by macOS's thermal pressure."""
    cooldown_poll_seconds: float = Field(default=5, ge=0.05, le=60)
    """MLX_HUB_COOLDOWN_POLL_SECONDS: how often to read the sensor during the pause."""
    cooldown_longest_seconds: float = Field(default=600, ge=0, le=86400)
    """MLX_HUB_COOLDOWN_LONGEST_SECONDS: then training goes on, hot or not; 0 is no pause at all."""
    thermal_sensor_file: Folder | None = None
    """MLX_HUB_THERMAL_SENSOR_FILE: holds degrees Celsius; read instead of the machine's sensor."""
