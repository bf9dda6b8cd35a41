"""A real Envoy in front of the stub services."""

import http.client
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from services.stack.ports import free_port
from services.stack.processes import Process
from tests.gateway import rest
from tests.gateway.backend import Backend

ORIGIN = "http://localhost:3000"
type Start = Callable[[Mapping[str, int]], int]


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Give a function that starts a gateway in front of these ports and gives its own."""
    running: list[Process] = []

    def start(ports: Mapping[str, int]) -> int:
        home = tmp_path_factory.mktemp("gateway")
        port = free_port(set())
        env = {
            **os.environ,
            "MLX_HUB_HOME": str(home),
            "MLX_HUB_PORT": str(port),
            "MLX_HUB_ALLOWED_ORIGINS": ORIGIN,
            **{f"MLX_HUB_{name.upper()}_PORT": str(number) for name, number in ports.items()},
        }
        argv = [sys.executable, "-m", "gateway"]
        process = Process("gateway", argv, home / "gateway.log", env=env)
        process.start()
        running.append(process)
        _await_answer(process, port)
        return port

    yield start
    for process in running:
        process.stop(10)


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
