"""The gateway's own settings."""

import ipaddress
import re
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from gateway import keys, ui
from gateway.keys import ApiKey
from services.chassis.settings import LOOPBACK, Address, Folder, HubSettings

_NAMED = r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?"
_HOST = re.compile(_NAMED)
_ORIGIN = re.compile(f"https?://{_NAMED}")

type Names = tuple[str, ...]


def _split(text: object) -> object:
    return (
        tuple(part.strip() for part in text.split(",") if part.strip())
        if (isinstance(text, str))
        else text
    )


def _exact(pattern: re.Pattern[str], wanted: str) -> Callable[[Names], Names]:
    def check(names: Names) -> Names:
        for name in names:
            if not pattern.fullmatch(name):
                raise ValueError(f"{name!r} is not an exact {wanted}")
        return names

    return check


_HOSTS = _exact(_HOST, "host such as hub.example or hub.example:443 (lower case, no wildcard)")
_ORIGINS = _exact(
    _ORIGIN, "origin such as http://localhost:3000 (lower case, no path, no wildcard)"
)


class GatewaySettings(HubSettings):
    """Where the gateway listens, whom it lets in, and whom a browser may bring along."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)  # it may be a key

    host: Address = LOOPBACK
    """MLX_HUB_HOST: the address to listen on; beyond loopback only with API keys."""
    allowed_hosts: Annotated[Names, NoDecode, BeforeValidator(_split), AfterValidator(_HOSTS)] = (
        Field(default=())
    )
    """MLX_HUB_ALLOWED_HOSTS: names of this hub besides the loopback ones, separated by commas."""
    allowed_origins: Annotated[
        Names, NoDecode, BeforeValidator(_split), AfterValidator(_ORIGINS)
    ] = Field(default=())
    """MLX_HUB_ALLOWED_ORIGINS: web origins besides the gateway's own, separated by commas."""
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(keys.parse)] = Field(
        default=()
    )
    """MLX_HUB_API_KEYS: `name:scope+scope:key`, separated by commas; none lets everyone in."""
    api_keys_file: Folder | None = None
    """MLX_HUB_API_KEYS_FILE: the same, an entry a line, in a file that only its owner may read."""
    max_connections: int = Field(default=1000, ge=4, le=100_000)
    """MLX_HUB_MAX_CONNECTIONS: clients' connections at a time; more are closed at once."""
    max_requests: int = Field(default=512, ge=1, le=100_000)
    """MLX_HUB_MAX_REQUESTS: calls and streams that one service has at a time; more get 503."""
    requests_per_second: int = Field(default=1000, ge=1, le=1_000_000)
    """MLX_HUB_REQUESTS_PER_SECOND: in the long run; twice as many at once; more get 429."""
    gateway_memory_bytes: int = Field(default=2**30, ge=16 * 2**20)
    """MLX_HUB_GATEWAY_MEMORY_BYTES: when the gateway's heap nears it, new requests get 503."""

    ui_folder: Folder = ui.FOLDER
    """MLX_HUB_UI_FOLDER: where the admin UI was built; what `make ui` writes, unless it is said."""

    @cached_property
    def keys(self) -> tuple[ApiKey, ...]:
        """Give the keys of both settings."""
        more = keys.read(self.api_keys_file) if self.api_keys_file else ()
        return (*self.api_keys, *more)

    @property
    def is_local(self) -> bool:
        """Tell whether only this machine can reach the gateway."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def addresses(self) -> Names:
        """List where to listen: on loopback also when one other address is asked for."""
        everywhere = ipaddress.ip_address(self.host).is_unspecified
        return (self.host,) if self.is_local or everywhere else (LOOPBACK, self.host)

    @property
    def nearest(self) -> str:
        """Give the address at which this machine itself reaches the gateway."""
        return self.host if self.is_local else LOOPBACK

    @model_validator(mode="after")
    def _keys_guard_what_others_reach(self) -> Self:
        keys.check(self.keys)
        if not self.is_local and not self.keys:
            raise ValueError(
                f"setting MLX_HUB_HOST: {self.host} can be reached from beyond this machine; "
                "give MLX_HUB_API_KEYS or MLX_HUB_API_KEYS_FILE at least one key, or use 127.0.0.1"
            )
        return self

    def masked(self) -> dict[str, str]:
        """Give every setting as text, without a key."""
        lists = {name: getattr(self, name) for name in _LISTS}
        shown = {name: ",".join(map(str, entries)) for name, entries in lists.items()}
        return dict(sorted({**super().masked(), **shown}.items()))


_LISTS = ("allowed_hosts", "allowed_origins", "api_keys")
