"""What the registry's operator may choose, beyond what every service knows."""

import os
from pathlib import Path

from pydantic import Field, field_validator

from services.chassis.settings import HubSettings
from services.registry.signing import Keys


class RegistrySettings(HubSettings):
    """The registry's own settings, each with its bounds."""

    database_url: str = Field(
        validation_alias="DATABASE_URL", pattern=r"^postgres(ql)?(\+psycopg)?://"
    )
    """DATABASE_URL: the registry can't be without one."""
    dataset_max_bytes: int = Field(default=4 * 2**30, ge=1, le=2**50)
    """MLX_HUB_DATASET_MAX_BYTES: of one dataset's file."""
    dataset_max_rows: int = Field(default=10_000_000, ge=1, le=2**31 - 1)
    """MLX_HUB_DATASET_MAX_ROWS: of one dataset."""
    dataset_max_line_bytes: int = Field(default=4 * 2**20, ge=2, le=2**30)
    """MLX_HUB_DATASET_MAX_LINE_BYTES: of one row."""
    orphan_grace_seconds: float = Field(default=3600, ge=0, le=30 * 86400)
    """MLX_HUB_ORPHAN_GRACE_SECONDS: how long a file may wait for its row before it is swept."""
    scrub_bytes_per_second: int = Field(default=20_000_000, ge=0, le=10**12)
    """MLX_HUB_SCRUB_BYTES_PER_SECOND: how fast stored files are read again; 0 turns it off."""
    scrub_interval_seconds: float = Field(default=86400, ge=1, le=365 * 86400)
    """MLX_HUB_SCRUB_INTERVAL_SECONDS: how old a file's check may become."""
    report_background_seconds: float = Field(default=1800, ge=0, le=86400)
    """MLX_HUB_REPORT_BACKGROUND_SECONDS: how long a dataset report in progress goes on when its
    last caller has left; 0 ends it with the caller."""
    export_max_bytes: int = Field(default=64 * 2**30, ge=1, le=2**50)
    """MLX_HUB_EXPORT_MAX_BYTES: of all exports that are kept; the oldest make room for another."""
    export_keep_seconds: float = Field(default=86400, ge=60, le=365 * 86400)
    """MLX_HUB_EXPORT_KEEP_SECONDS: how long an export stays after it was last asked for."""
    mlflow_idle_seconds: float = Field(default=60, ge=1, le=86400)
    """MLX_HUB_MLFLOW_IDLE_SECONDS: how long the mirror's process stays without work."""

    def keys(self) -> Keys:
        """Read the keys that sign and that are trusted."""
        return Keys.read(self.signing_key, _paths(self.trusted_keys))

    @field_validator("signing_key")
    @classmethod
    def _signs(cls, path: Path | None) -> Path | None:
        Keys.read(path)
        return path

    @field_validator("trusted_keys")
    @classmethod
    def _are_keys(cls, value: str) -> str:
        Keys.read(None, _paths(value))
        return value


def _paths(value: str) -> tuple[Path, ...]:
    return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part)
