"""Settings: read once from the environment, cast once, every bad key reported at once."""

import ipaddress
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, computed_field, model_validator
from pydantic_settings import SettingsConfigDict

from services.chassis.otlp import OtlpSettings

Port = Annotated[int, Field(ge=0, le=65535)]
Folder = Annotated[Path, AfterValidator(lambda p: p.expanduser().absolute())]
LOOPBACK = "127.0.0.1"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.IGNORECASE)


def _address(text: str) -> str:
    """Take an IP address as it is usually written; raises ValueError for anything else."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address to listen on; use 127.0.0.1 for this machine only, "
            "or an address of this machine or 0.0.0.0 where that is allowed"
        ) from None


def _host(text: str) -> str:
    """Take a name or an address, without scheme and port."""
    if _NAME.fullmatch(text) and not text.replace(".", "").isdecimal():
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is no name or address of a machine; ports have settings of their own"
        ) from None


Address = Annotated[str, AfterValidator(_address)]
Host = Annotated[str, AfterValidator(_host)]


def at(host: str, port: int) -> str:
    """Write a host and a port as one word; IPv6 addresses need brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HubSettings(OtlpSettings):
    """What every service knows of the node. Names of the environment stand beside each field."""

    model_config = SettingsConfigDict(
        env_prefix="MLX_HUB_", frozen=True, extra="ignore", populate_by_name=True
    )

    home: Folder = Path("~/.mlx-hub").expanduser()
    """MLX_HUB_HOME: everything the hub writes."""
    database_url: str = Field(default="", validation_alias="DATABASE_URL")
    """DATABASE_URL: empty means the embedded Postgres, which the stack starts."""
    mlflow_tracking_uri: str = Field(default="", validation_alias="MLFLOW_TRACKING_URI")
    """MLFLOW_TRACKING_URI: empty means no mirror, or the stack's own MLflow database."""
    artifact_root_setting: Folder | None = Field(default=None, validation_alias="ARTIFACT_ROOT")
    active_setting: Folder | None = Field(default=None, validation_alias="STORAGE_ACTIVE_PATH")
    archive_setting: Folder | None = Field(default=None, validation_alias="STORAGE_ARCHIVE_PATH")
    cold_setting: Folder | None = Field(default=None, validation_alias="MLX_HUB_STORAGE_COLD_PATH")
    dataset_root_setting: Folder | None = Field(
        default=None, validation_alias="MLX_HUB_DATASET_ROOT"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", validation_alias="LOG_LEVEL"
    )
    log_format: Literal["auto", "json", "text"] = "auto"
    """MLX_HUB_LOG_FORMAT: auto is text on a terminal, and JSON lines everywhere else."""
    port: Port = 8080
    """MLX_HUB_PORT: the gateway's; 0 picks a free one, here and below."""
    bind_host: Address = LOOPBACK
    """MLX_HUB_BIND_HOST: where the services listen, rpcs and metrics; they ask for no key, so
    anything but loopback is for the private network of containers (`mlx-hub up` refuses it)."""
    registry_host: Host = LOOPBACK
    """MLX_HUB_REGISTRY_HOST: where the others reach it, here and below."""
    trainer_host: Host = LOOPBACK
    inference_host: Host = LOOPBACK
    registry_port: Port = 50051
    trainer_port: Port = 50052
    inference_port: Port = 50053
    registry_metrics_port: Port = 9101
    trainer_metrics_port: Port = 9102
    inference_metrics_port: Port = 9103
    gateway_metrics_port: Port = 9104
    signing_key: Folder | None = None
    """MLX_HUB_SIGNING_KEY: a PEM file with the Ed25519 key that signs versions' statements."""
    trusted_keys: str = ""
    """MLX_HUB_TRUSTED_KEYS: PEM files of public keys to check by, separated by `:`."""
    memory_budget_bytes: int = Field(default=0, ge=0)
    """MLX_HUB_MEMORY_BUDGET_BYTES: for the engines and the training job together; 0 leaves
    max(12 GiB, a quarter) of the machine to everything else, or a half where that is more."""
    reader_seconds: float = Field(default=30.0, gt=0, le=3600)
    """MLX_HUB_READER_SECONDS: a stream that takes no message for so long is ended."""
    drain_seconds: float = Field(default=10.0, ge=0, le=600)
    """MLX_HUB_DRAIN_SECONDS: how long running calls may go on at shutdown."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def artifact_root(self) -> Path:
        """ARTIFACT_ROOT: all stored files; default `$MLX_HUB_HOME/artifacts`."""
        return self.artifact_root_setting or self.home / "artifacts"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def storage_active_path(self) -> Path:
        """STORAGE_ACTIVE_PATH: work in progress; default `$ARTIFACT_ROOT/active`."""
        return self.active_setting or self.artifact_root / "active"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def storage_archive_path(self) -> Path:
        """STORAGE_ARCHIVE_PATH: published files; default `$ARTIFACT_ROOT/archive`."""
        return self.archive_setting or self.artifact_root / "archive"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def storage_cold_path(self) -> Path:
        """MLX_HUB_STORAGE_COLD_PATH: archived versions; default `$STORAGE_ARCHIVE_PATH/cold`."""
        return self.cold_setting or self.storage_archive_path / "cold"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def dataset_root(self) -> Path:
        """MLX_HUB_DATASET_ROOT: where datasets may be registered from; default `$home/datasets`."""
        return self.dataset_root_setting or self.home / "datasets"

    @model_validator(mode="after")
    def _tiers_are_apart(self) -> Self:
        """Refuse one folder for both tiers: what leaves the one would leave the other too."""
        hot, cold = self.storage_archive_path.resolve(), self.storage_cold_path.resolve()
        kinds = (hot / kind for kind in ("base", "versions", "datasets"))
        if cold == hot or any(cold.is_relative_to(kind) for kind in kinds):
            raise ValueError(
                "MLX_HUB_STORAGE_COLD_PATH must be a folder of its own, neither "
                "STORAGE_ARCHIVE_PATH nor one of its base, versions and datasets"
            )
        return self

    def masked(self) -> dict[str, str]:
        """Give every setting as text, passwords in URLs replaced by `***`."""
        shown = self.model_dump(exclude={n for n in type(self).model_fields if "_setting" in n})
        for secret in ("signing_key", "otlp_headers"):
            if shown[secret]:
                shown[secret] = "***"
        return {key: mask(str(value)) for key, value in sorted(shown.items())}


def mask(text: str) -> str:
    """Replace the password of a URL."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", text)


def load[S: HubSettings](kind: type[S], **given: Any) -> S:
    """Read what is not given, or print every bad key with its reason and exit with 2."""
    try:
        return kind(**given)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            why = problem["msg"].removeprefix("Value error, ")
            named = f"setting {_key(kind, problem['loc'])}: " if problem["loc"] else ""
            print(f"{named}{why}", file=sys.stderr)
        raise SystemExit(2) from None


def _key(kind: type[HubSettings], location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "?"
    field = kind.model_fields.get(name)
    alias = field.validation_alias if field else None
    return str(alias or (name if name.isupper() else f"MLX_HUB_{name.upper()}"))
