"""The gateway on addresses that others can reach: with keys, and under names that it was told."""

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import ALL, Start, bearer

ENTRY = f"all:read+admin:{ALL}"


def outside() -> str:
    """Give an address of this machine that others reach; loopback where it has no network."""
    found = [a.address for card in psutil.net_if_addrs().values() for a in card]
    mine = [address for address in found if address.count(".") == 3]
    return next((a for a in mine if not a.startswith("127.")), "127.0.0.1")


def get(address: str, port: int, headers: dict[str, str]) -> rest.Reply:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        connection.request("GET", "/models/1", headers=headers)
        return rest.read(connection.getresponse())
    finally:
        connection.close()


@pytest.mark.parametrize("everywhere", [True, False])
def test_with_keys_others_come_in_by_a_known_name(
    everywhere: bool, start_gateway: Start, running_backend: Backend
) -> None:
    address = outside()
    names = f"{address},hub.example" if everywhere else "hub.example"
    host = "0.0.0.0" if everywhere else address  # noqa: S104 (what is tested)
    port = start_gateway(running_backend.ports, host=host, api_keys=ENTRY, allowed_hosts=names)
    for reached in (address, "127.0.0.1"):
        assert get(reached, port, bearer(ALL)).status == 200
        assert get(reached, port, {**bearer(ALL), "Host": f"hub.example:{port}"}).status == 200
        assert get(reached, port, {**bearer(ALL), "Host": "evil.example"}).status == 403
        assert get(reached, port, {**bearer(ALL), "Host": f"0.0.0.0:{port}"}).status == 403
        assert get(reached, port, {}).status == 401


def test_both_families_are_served(start_gateway: Start, running_backend: Backend) -> None:
    if not socket.has_dualstack_ipv6():
        return
    port = start_gateway(running_backend.ports, host="::", api_keys=ENTRY)
    for reached in ("::1", "127.0.0.1"):
        assert get(reached, port, bearer(ALL)).status == 200


@pytest.mark.parametrize("words", [("gateway",), ("mlx_hub.cli", "up")])
def test_without_keys_nothing_starts_beyond_loopback(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    env = {**os.environ, "MLX_HUB_HOST": "0.0.0.0", "MLX_HUB_HOME": str(home)}  # noqa: S104
    argv = [sys.executable, "-m", *words]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "setting MLX_HUB_HOST: 0.0.0.0 can be reached from beyond this machine; "
        "give MLX_HUB_API_KEYS or MLX_HUB_API_KEYS_FILE at least one key, or use 127.0.0.1"
    ]
    assert not home.exists()
