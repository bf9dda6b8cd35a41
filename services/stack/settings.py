"""What the stack itself needs to know, besides what the gateway and the services read."""

from pydantic import Field

from gateway.settings import GatewaySettings
from services.chassis.settings import HubSettings, load

PORT_FIELDS = (
    "port",
    "registry_port",
    "trainer_port",
    "inference_port",
    "registry_metrics_port",
    "trainer_metrics_port",
    "inference_metrics_port",
)


class StackSettings(GatewaySettings):
    """The settings of `mlx-hub up`; each also reaches the services as it is."""

    min_free_bytes: int = Field(default=2**30, ge=0)
    """MLX_HUB_MIN_FREE_BYTES: room that the data's volumes must have at the start."""


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
