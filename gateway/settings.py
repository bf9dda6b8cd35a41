"""The gateway's own settings."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from services.chassis.settings import HubSettings

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


def _loopback(host: str) -> str:
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise ValueError(
            f"{host!r} is not a loopback address; without API keys the hub serves "
            "this machine only, so use 127.0.0.1"
        )
    return host


def _split(text: object) -> object:
    return (
        tuple(part.strip() for part in text.split(",") if part.strip())
        if (isinstance(text, str))
        else text
    )


def _exact(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an exact origin such as http://localhost:3000 "
                "(lower case, no path, no wildcard)"
            )
    return origins


class GatewaySettings(HubSettings):
    """Where the gateway listens and whom a browser may bring along."""

    host: Annotated[str, AfterValidator(_loopback)] = "127.0.0.1"
    """MLX_HUB_HOST: the loopback address to listen on."""
    allowed_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_exact)
    ] = Field(default=())
    """MLX_HUB_ALLOWED_ORIGINS: web origins besides the gateway's own, separated by commas."""
