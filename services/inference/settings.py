"""What an operator may set for the inference service."""

from pydantic import Field

from services.chassis.settings import HubSettings


class InferenceSettings(HubSettings):
    """Bounds of the engines; the memory forecast is made of them."""

    max_engines: int = Field(default=2, ge=1, le=64)
    """MLX_HUB_MAX_ENGINES: base models resident at the same time."""
    max_rows: int = Field(default=8, ge=1, le=256)
    """MLX_HUB_MAX_ROWS: requests that one engine generates for at the same time."""
    kv_tokens: int = Field(default=16384, ge=512, le=4_194_304)
    """MLX_HUB_KV_TOKENS: rows × the longest row, in tokens; also the longest context served."""
    queue_limit: int = Field(default=64, ge=0, le=100_000)
    """MLX_HUB_QUEUE_LIMIT: requests that may wait for one engine; more are refused, unless they
    come from a caller who has less than an equal share of the line."""
    adapter_slots: int = Field(default=16, ge=1, le=1024)
    """MLX_HUB_ADAPTER_SLOTS: versions resident in one engine at the same time."""
    engine_start_seconds: float = Field(default=300, gt=0, le=3600)
    """MLX_HUB_ENGINE_START_SECONDS: how long loading a base model may take."""
