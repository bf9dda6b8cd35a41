"""The stack runs, heals, and leaves nothing behind, with stand-ins for the services."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.stack import launch
from services.stack.settings import StackSettings
from tests.fixtures.observed import needs_prometheus
from tests.gateway import rest
from tests.integration.test_stack_processes import eventually, gone

COMMAND = [sys.executable, "-m", "tests.integration.stand_in_stack"]
PORTS = ("", "REGISTRY_", "TRAINER_", "INFERENCE_")
METRICS = ("REGISTRY_METRICS_", "TRAINER_METRICS_", "INFERENCE_METRICS_", "GATEWAY_METRICS_")


@dataclass
class Up:
    """A stack in the foreground of a process of its own."""

    home: Path
    process: subprocess.Popen[str]

    @property
    def ports(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "run" / "ports.json").read_text())
        return found

    def health(self) -> int:
        return rest.call(self.ports["gateway"], "GET", "/health").status

    def family(self) -> dict[str, int]:
        """Give the process ids of the stack's children by what they run."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = child.cmdline() or ["one between fork and exec"]
                name = words[-1] if "tests.integration.stand_in" in words else Path(words[0]).name
                found[name] = child.pid
        return found


def environment(home: Path, **more: str) -> dict[str, str]:
    free = {f"MLX_HUB_{name}PORT": "0" for name in (*PORTS, *METRICS)}
    kept = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return {**kept, **free, "MLX_HUB_HOME": str(home), "MLX_HUB_DRAIN_SECONDS": "1", **more}


type Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []

    def launch(name: str = "home", *, wait: bool = True, **more: str) -> Up:
        home = tmp_path / name
        process = subprocess.Popen(
            [*COMMAND, "up"],
            env=environment(home, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        up = Up(home, process)
        started.append(up)
        assert process.stdout
        if wait:
            assert any("serves at http://127.0.0.1:" in line for line in process.stdout)
        return up

    yield launch
    for up in started:
        up.process.terminate()
        up.process.communicate(timeout=60)


def run(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_serves_alone_on_its_home_and_beside_another(start: Start) -> None:
    first, second = start("first"), start("second")
    assert first.health() == second.health() == 200
    assert set(first.ports) == {
        *("gateway", "registry", "trainer", "inference", "database_url"),
        *("registry_metrics", "trainer_metrics", "inference_metrics", "gateway_metrics"),
    }
    assert set(first.ports.values()).isdisjoint(second.ports.values())
    again = run(first.home, "up")
    assert again.returncode == 1
    assert f"already runs on {first.home} (process {first.process.pid})" in again.stderr
    assert first.health() == 200


def test_what_dies_is_started_again(start: Start) -> None:
    up = start()
    before = up.family()
    assert set(before) == {"postgres", "registry", "trainer", "inference", "envoy"}
    for name in ("trainer", "envoy", "postgres"):
        os.kill(before[name], signal.SIGKILL)
    eventually(lambda: set(up.family()) == set(before) and before != up.family())
    eventually(lambda: _answers(up))
    after = up.family()
    assert {name for name in before if before[name] != after[name]} == {
        "trainer",
        "envoy",
        "postgres",
    }


def _answers(up: Up) -> bool:
    try:
        return up.health() == 200
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(number: signal.Signals, start: Start) -> None:
    up = start()
    family = up.family()
    for _ in range(3):
        up.process.send_signal(number)
    assert up.process.wait(60) == 0
    assert all(gone(pid) for pid in family.values())
    assert not (up.home / "run" / "ports.json").exists()
    log = (up.home / "logs" / "postgres.log").read_text()
    assert "database system is shut down" in log.splitlines()[-1]


def test_down_ends_it(start: Start) -> None:
    up = start()
    family = up.family()
    done = run(up.home, "down")
    assert (done.returncode, done.stdout) == (0, "The hub is stopped.\n")
    assert up.process.wait(10) == 0
    assert all(gone(pid) for pid in family.values())
    assert run(up.home, "down").stdout == f"No hub runs on {up.home}.\n"


def test_a_killed_stack_takes_its_children_along(start: Start) -> None:
    up = start()
    family = up.family()
    up.process.kill()
    up.process.wait(10)
    if sys.platform == "linux":
        eventually(lambda: all(gone(pid) for pid in family.values()))
    again = start()
    assert again.health() == 200
    assert all(gone(pid) for pid in family.values())


def test_a_running_stack_is_used_and_left_running(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = start()
    monkeypatch.setenv("MLX_HUB_HOME", str(up.home))
    with launch.running(StackSettings(), print) as found:
        assert (found.port, found.ours) == (up.ports["gateway"], False)
    assert up.health() == 200


def test_a_stop_while_starting_is_obeyed(start: Start) -> None:
    up = start(wait=False)
    assert up.process.stdout
    assert "postgres serves" in up.process.stdout.readline()
    family = up.family()
    up.process.terminate()
    assert up.process.wait(60) == 0
    assert all(gone(pid) for pid in family.values())


def test_a_service_that_can_not_start_is_shown_and_nothing_stays(start: Start) -> None:
    up = start(wait=False, STAND_IN_FAILS="inference")
    _, told = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert "The inference ended with code 3." in told
    assert "the stand-in was told to fail" in told
    assert not (up.home / "run" / "ports.json").exists()
    assert not (up.home / "postgres" / "data" / "postmaster.pid").exists()


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run(tmp_path / "home", "up", MLX_HUB_PORT=str(port))
    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert "MLX_HUB_PORT=" in done.stderr
    assert not (tmp_path / "home" / "postgres").exists()


@pytest.mark.parametrize(
    ("setting", "value", "code", "text"),
    [
        ("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/x", 1, "does not answer"),
        ("DATABASE_URL", "mysql://u:hidden@127.0.0.1/x", 1, "postgresql://"),
        ("DATABASE_URL", "nonsense", 1, "DATABASE_URL"),
        ("MLX_HUB_MIN_FREE_BYTES", str(2**62), 1, "MLX_HUB_MIN_FREE_BYTES"),
        ("MLX_HUB_HOST", "0.0.0.0", 2, "MLX_HUB_HOST"),  # noqa: S104
        ("MLX_HUB_PORT", "http", 2, "MLX_HUB_PORT"),
        ("MLX_HUB_HOME", "/proc/nowhere", 1, "/proc/nowhere"),
    ],
)
@pytest.mark.parametrize("words", [("up",), ("up", "--detach")])
def test_a_bad_setting_is_told_and_nothing_stays(
    words: tuple[str, ...], setting: str, value: str, code: int, text: str, tmp_path: Path
) -> None:
    done = run(tmp_path / "home", *words, **{setting: value})
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr + done.stdout


@needs_prometheus
def test_prometheus_runs_with_the_stack_and_ends_with_it(start: Start) -> None:
    up = start(
        MLX_HUB_OBSERVABILITY="true", MLX_HUB_PROMETHEUS_PORT="0", MLX_HUB_SCRAPE_SECONDS="1"
    )
    pid = up.family()["prometheus"]

    def scraped() -> set[str]:
        reply = rest.call(up.ports["prometheus"], "GET", "/api/v1/query?query=up==1")
        return {found["metric"]["job"] for found in reply.json["data"]["result"]}

    everyone = {"registry", "trainer", "inference", "gateway", "prometheus"}
    eventually(lambda: scraped() == everyone)
    rules = rest.call(up.ports["prometheus"], "GET", "/api/v1/rules").json["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    assert [c.laddr.ip for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"] == [
        "127.0.0.1"
    ]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: up.family().get("prometheus") not in {None, pid})
    family = up.family()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0
    assert all(gone(pid) for pid in family.values())


def test_without_prometheus_there_is_no_observability(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "up", "--observability", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "apt install prometheus" in done.stderr
    assert not (tmp_path / "home" / "postgres").exists()
