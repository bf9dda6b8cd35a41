"""Where the hub is, so that scripts and the command line find a local one without a setting."""

import contextlib
import ipaddress
import json
import os
import re
from pathlib import Path

DEFAULT_ADDRESS = "127.0.0.1:8080"
_HOST = re.compile(r"\[(?P<six>[0-9a-fA-F:.]+)\](:\d+)?|(?P<name>[^:/\[\]]+)(:\d+)?")


def find_address(given: str | None = None) -> str:
    """Return host:port: as given, from MLX_HUB_ADDRESS, from a running local stack, or 8080.

    `https://` stays in front: it asks for TLS.
    """
    if chosen := given or os.environ.get("MLX_HUB_ADDRESS"):
        # People paste the address of the REST API; it is the same port.
        return chosen.removeprefix("http://").rstrip("/")
    home = Path(os.environ.get("MLX_HUB_HOME") or "~/.mlx-hub").expanduser()
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        ports = json.loads((home / "run" / "ports.json").read_text())
        return f"127.0.0.1:{int(ports['gateway'])}"
    return DEFAULT_ADDRESS


def is_loopback(address: str) -> bool:
    """Whether what is sent to host:port can't leave this machine; when in doubt it can."""
    if address.startswith("unix:"):
        return True
    if (match := _HOST.fullmatch(address)) is None:
        return False
    host = match["six"] or match["name"]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
