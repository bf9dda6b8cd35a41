"""What is the same for both kinds of channel that a hub holds."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TypedDict

import grpc
from mlx_hub.client import trace
from mlx_hub.client.address import find_address, is_loopback
from mlx_hub.client.errors import Invalid

#: Seconds until a call gives up, unless the caller says otherwise.
DEFAULT_TIMEOUT = 30.0

_OPTIONS: tuple[tuple[str, int], ...] = (
    # A proxy of the environment is for the web, not for a hub on this machine.
    ("grpc.enable_http_proxy", 0),
    # Repeats follow the policy in retry.py, not a second one below it.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_KEY = re.compile(r"[!-~]+")


class Settings(TypedDict, total=False):
    """How a hub is spoken to; what is left out or None takes the environment's value, or none."""

    timeout: float
    """Seconds until a call gives up, unless the call says otherwise; 30 by default."""
    caller: str | None
    """A name, between which a hub shares its engines evenly; else MLX_HUB_CALLER."""
    api_key: str | None
    """A key that the hub gave out; else MLX_HUB_API_KEY."""
    tls: bool
    """Whether to speak TLS; an address that begins with https:// says so, too."""
    root_certificates: str | PathLike[str] | None
    """A PEM file of the authorities to trust instead of gRPC's own; it asks for TLS.

    Else MLX_HUB_CA_FILE, where TLS is asked for.
    """
    insecure: bool
    """Whether the key may cross a network in the clear."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a hub is, and what each of its calls says of who asks."""

    address: str
    timeout: float
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    said: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Who asks, and in which trace just now."""
        return (*self.said, *trace.context())

    @property
    def shown(self) -> str:
        """The address as a person should look at it when nothing answers."""
        return f"https://{self.address}" if self.credentials else self.address

    def open[C](
        self,
        insecure: Callable[[str, tuple[tuple[str, int], ...]], C],
        secure: Callable[[str, grpc.ChannelCredentials, tuple[tuple[str, int], ...]], C],
    ) -> C:
        """Make a channel of one kind or the other; it connects with the first call."""
        if self.credentials is None:
            return insecure(self.address, _OPTIONS)
        return secure(self.address, self.credentials, _OPTIONS)


def connection(
    address: str | None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    caller: str | None = None,
    api_key: str | None = None,
    tls: bool = False,
    root_certificates: str | PathLike[str] | None = None,
    insecure: bool = False,
) -> Connection:
    """Find the hub; refuse to send a key where others could read it."""
    found = find_address(address)
    host = found.removeprefix("https://")
    credentials = None
    if tls or root_certificates or host != found:
        pem = Path(root_certificates).read_bytes() if root_certificates else _trusted()
        credentials = grpc.ssl_channel_credentials(pem)
    said: list[tuple[str, str]] = []
    if name := caller or os.environ.get("MLX_HUB_CALLER"):
        said.append(("x-mlx-hub-caller", name))
    if key := api_key or os.environ.get("MLX_HUB_API_KEY"):
        _check(key, host, credentials is not None or insecure)
        said.append(("authorization", f"Bearer {key}"))
    return Connection(host, timeout, credentials, tuple(said))


def _trusted() -> bytes | None:
    """Read the environment's authorities, if it names any."""
    try:
        file = os.environ.get("MLX_HUB_CA_FILE")
        return Path(file).read_bytes() if file else None
    except OSError as error:
        text = f"MLX_HUB_CA_FILE names a file that can't be read: {error.strerror}"
        raise Invalid(text, reason="INVALID_FIELD", field="root_certificates") from error


def _check(key: str, host: str, allowed: bool) -> None:
    """Refuse a key that can't be sent, or must not be; the error never shows it."""
    problem = None
    if not _KEY.fullmatch(key):
        problem = "a key is printable ASCII without spaces or line ends, and this one is not"
    elif not allowed and not is_loopback(host):
        problem = (
            f"{host} is another machine, and without TLS the key could be read on the way; "
            "use an address that begins with https:// or tls=True, or say insecure=True"
        )
    if problem:
        raise Invalid(f"api_key: {problem}", reason="INVALID_FIELD", field="api_key")


class Guard:
    """Refuses at once what gRPC would hang on or fail at without a word of why."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._place: object = None
        self.closed = False

    def check(self, place: object = None) -> None:
        """Raise unless the hub is open, in its own process and in its own event loop."""
        if self.closed:
            raise RuntimeError("this hub is closed; make another one")
        if self._process != os.getpid():
            raise RuntimeError("this hub was made before a fork; make one in each process")
        self._place = self._place or place
        if self._place is not place:
            raise RuntimeError("this hub is used in another event loop; make one in each loop")
