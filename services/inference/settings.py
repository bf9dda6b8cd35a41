"""What an operator may set for the inference service."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from services.chassis.settings import HubSettings
from services.inference import drafts
from services.inference.domain import Attention


def _kv_bits(bits: int) -> int:
    if bits not in (0, 4, 8):
        raise ValueError("must be 4 or 8, or 0, which leaves keys and values as they are")
    return bits


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
    adapter_rank: int = Field(default=16, ge=1, le=4096)
    """MLX_HUB_ADAPTER_RANK: each slot is reckoned as an adapter of this rank on every layer but a
    mixture's experts. Larger adapters are served in the room of several, and one larger than all
    slots by an engine that starts with room for it."""
    keep_alive_seconds: int = Field(default=1800, ge=0, le=31_536_000)
    """MLX_HUB_KEEP_ALIVE_SECONDS: how long an unused engine stays; 0 unloads it at once."""
    room_wait_seconds: float = Field(default=30, ge=0, le=3600)
    """MLX_HUB_ROOM_WAIT_SECONDS: how long a model may wait for memory that busy engines hold."""
    stall_seconds: float = Field(default=60, ge=1, le=3600)
    """MLX_HUB_STALL_SECONDS: an engine that has requests and makes no step for so long is ended and
    started again; must be longer than reading one piece of a prompt takes."""
    quarantine_seconds: float = Field(default=600, ge=0, le=86_400)
    """MLX_HUB_QUARANTINE_SECONDS: how long a request is refused that was running when two engines
    ended; 0 refuses none."""
    engine_start_seconds: float = Field(default=300, gt=0, le=3600)
    """MLX_HUB_ENGINE_START_SECONDS: how long loading a base model may take."""
    generations_kept: int = Field(default=100_000, ge=0, le=10_000_000)
    """MLX_HUB_GENERATIONS_KEPT: past answers that can be traced, the newest; 0 keeps none."""
    drafting: bool = True
    """MLX_HUB_DRAFTING: whether a lone request that does not say is drafted for."""
    draft_models: Annotated[dict[str, str], NoDecode, BeforeValidator(drafts.parse)] = Field(
        default={}
    )
    """MLX_HUB_DRAFT_MODELS: `base=draft,…`: base models that guess for others."""
    prefix_cache_bytes: int = Field(default=512 * 1024**2, ge=0)
    """MLX_HUB_PREFIX_CACHE_BYTES: keys and values that one engine keeps of prompts; 0: none."""
    prefix_cache_disk_bytes: int = Field(default=0, ge=0)
    """MLX_HUB_PREFIX_CACHE_DISK_BYTES: the same on disk, for all engines together; 0: none."""
    max_kv_size: int = Field(default=0, ge=0, le=4_194_304)
    """MLX_HUB_MAX_KV_SIZE: each row attends to so many of its last tokens; 0: to all."""
    kv_bits: Annotated[int, AfterValidator(_kv_bits)] = 0
    """MLX_HUB_KV_BITS: of each number in keys and values; 0: they are not quantised."""

    @model_validator(mode="after")
    def _keys_and_values_fit(self) -> Self:
        if self.max_kv_size > self.kv_tokens:
            raise ValueError("MLX_HUB_MAX_KV_SIZE must not be more than MLX_HUB_KV_TOKENS")
        if self.max_kv_size and self.kv_bits:
            raise ValueError(
                "MLX_HUB_KV_BITS and MLX_HUB_MAX_KV_SIZE can't be had together: windows are not "
                "quantised; leave one of them out"
            )
        return self

    @property
    def attention(self) -> Attention:
        """How the engines attend."""
        return Attention(self.kv_bits, self.max_kv_size)

    @property
    def prefix_cache_folder(self) -> Path:
        """Where the prefix cache's files lie."""
        return self.home / "prefix-cache"
