"""A real Envoy in front of the stub services."""

import http.client
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest

from gateway.scopes import SCOPES
from services.stack.ports import free_port
from services.stack.processes import Process
from tests.gateway import rest
from tests.gateway.backend import Backend

ORIGIN = "http://localhost:3000"
# Lengths around SHA-256's blocks, so that the guard's sums are those of a library.
_LENGTHS = (16, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 183, 184, 255, 256)
LONG = {size: ("aZ9._~+/=-" * 26)[:size] for size in _LENGTHS}
KEYS = {scope: f"a-key-to-{scope}-with" for scope in SCOPES}
ALL = "a-key-to-everything"


class Start(Protocol):
    """Starts a gateway with some of its settings given; gives its port."""

    def __call__(self, ports: Mapping[str, int], **settings: object) -> int: ...


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Give a function that starts a gateway in front of these ports and gives its own."""
    running: list[Process] = []

    def start(ports: Mapping[str, int], **settings: object) -> int:
        home = tmp_path_factory.mktemp("gateway")
        taken: set[int] = set()
        port, metrics_port = free_port(taken), free_port(taken)
        env = {
            **os.environ,
            "MLX_HUB_HOME": str(home),
            "MLX_HUB_PORT": str(port),
            "MLX_HUB_GATEWAY_METRICS_PORT": str(metrics_port),
            "MLX_HUB_ALLOWED_ORIGINS": ORIGIN,
            "MLX_HUB_ALLOWED_HOSTS": "hub.example,door.example:443",
            **{f"MLX_HUB_{name.upper()}_PORT": str(number) for name, number in ports.items()},
            **{_variable(name): str(value) for name, value in settings.items()},
        }
        argv = [sys.executable, "-m", "gateway"]
        process = Process("gateway", argv, home / f"gateway-{port}.log", env=env)
        process.start()
        running.append(process)
        _await_answer(process, port)
        return port

    yield start
    for process in running:
        process.stop(10)


def _variable(name: str) -> str:
    return name if name.isupper() else f"MLX_HUB_{name.upper()}"


def _await_answer(process: Process, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.alive():
        try:
            rest.call(port, "GET", "/health")
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    raise AssertionError(process.last_lines())


@pytest.fixture(scope="session")
def running_backend() -> Iterator[Backend]:
    """Run the stub services for the session."""
    backend = Backend()
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture
def backend(running_backend: Backend) -> Backend:
    """Give the stub services with nothing recorded."""
    for recorder in running_backend.recorders.values():
        recorder.calls.clear()
    return running_backend


@pytest.fixture(scope="session")
def gateway(start_gateway: Start, running_backend: Backend) -> int:
    """Give the port of a gateway in front of the stub services."""
    return start_gateway(running_backend.ports)


@pytest.fixture(scope="session")
def guarded(start_gateway: Start, running_backend: Backend) -> int:
    """Give the port of a gateway that wants keys."""
    entries = [f"{scope}er:{scope}:{key}" for scope, key in KEYS.items()]
    entries += [f"long-{size}:read:{key}" for size, key in LONG.items()]
    entries.append(f"all:{'+'.join(SCOPES)}:{ALL}")
    return start_gateway(running_backend.ports, api_keys=",".join(entries))


def bearer(key: str) -> dict[str, str]:
    """Give the header that brings a key along."""
    return {"Authorization": f"Bearer {key}"}
