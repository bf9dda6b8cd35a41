"""The demo as a user runs it: once on the starter, and twice in a row on one home."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.stack.starter import NAME
from tests.fixtures.tiny_model import write_tiny_model


def mlx_hub(home: Path, *words: str) -> str:
    environment = {**os.environ, "MLX_HUB_HOME": str(home), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "mlx_hub.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def left_over(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        if environment.get("MLX_HUB_HOME") == str(home) or str(home) in " ".join(
            process.info["cmdline"] or ()
        ):
            found.append(" ".join(process.info["cmdline"] or ()))
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o711)
    return tmp_path / "home"


@pytest.mark.timeout(480)  # a demo is allowed to be slow on a busy machine
def test_demo_runs_on_the_starter_and_leaves_nothing_running(home: Path) -> None:
    shown = mlx_hub(home, "demo")
    assert "converting to MLX" in shown
    assert "sha256" in shown
    assert "version 1:" in shown
    assert left_over(home) == []


def test_demo_runs_again_on_what_it_made(home: Path, tmp_path: Path) -> None:
    """Nothing of a second run is the starter's own: here a tiny model has its name."""
    (tiny := tmp_path / "tiny").mkdir()
    write_tiny_model(tiny, layers=16)  # as many as the demo adapts
    mlx_hub(home, "models", "import", str(tiny), "--name", NAME)
    first = mlx_hub(home, "demo")
    assert "made model 1 " in first
    assert "made dataset 1 " in first
    second = mlx_hub(home, "demo")
    assert "found model 1 " in second
    assert "found dataset 1 " in second
    assert "version 2:" in second
    assert left_over(home) == []
