"""What the stack itself needs to know, besides what the gateway and the services read."""

from pydantic import Field

from gateway.settings import GatewaySettings
from services.chassis.settings import HubSettings, Port, load

PORT_FIELDS = (
    "port",
    "registry_port",
    "trainer_port",
    "inference_port",
    "registry_metrics_port",
    "trainer_metrics_port",
    "inference_metrics_port",
    "gateway_metrics_port",
)
"""The ports of what always runs."""


class StackSettings(GatewaySettings):
    """The settings of `mlx-hub up`; each also reaches the services as it is."""

    observability: bool = False
    """MLX_HUB_OBSERVABILITY: whether Prometheus runs beside the hub, as by `--observability`."""
    prometheus_port: Port = 9090
    """MLX_HUB_PROMETHEUS_PORT: where it answers, on loopback only; 0 picks a free one."""
    prometheus_retention_days: int = Field(default=15, ge=1, le=3650)
    """MLX_HUB_PROMETHEUS_RETENTION_DAYS: how long it keeps what it scraped."""
    prometheus_retention_bytes: int = Field(default=2**31, ge=2**26)
    """MLX_HUB_PROMETHEUS_RETENTION_BYTES: how much of it; the oldest goes first."""
    scrape_seconds: int = Field(default=15, ge=1, le=300)
    """MLX_HUB_SCRAPE_SECONDS: how often it asks each service, and looks at the alerts."""
    min_free_bytes: int = Field(default=2**30, ge=0)
    """MLX_HUB_MIN_FREE_BYTES: room that the data's volumes must have at the start."""

    @property
    def ports(self) -> tuple[str, ...]:
        """List the fields with the ports of what runs."""
        return (*PORT_FIELDS, *(["prometheus_port"] if self.observability else ()))


def read() -> StackSettings:
    """Read the environment; ends the process with code 2 where a setting is wrong."""
    return load(StackSettings)


def environment_name(field: str, kind: type[HubSettings] = StackSettings) -> str:
    """Give the environment variable that sets a field."""
    fields = kind.model_fields
    short = field.removeprefix("storage_").removesuffix("_path")
    for name in (field, f"{field}_setting", f"{short}_setting"):
        if name in fields:
            return str(fields[name].validation_alias or f"MLX_HUB_{name.upper()}")
    raise KeyError(field)
