"""The demo as a user runs it: twice in a row, on one home."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest


def demo(home: Path) -> str:
    environment = {**os.environ, "MLX_HUB_HOME": str(home), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "mlx_hub.cli", "demo"],
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


@pytest.mark.timeout(900)  # two demos, each allowed to be slow on a busy machine
def test_demo_runs_twice_and_leaves_nothing_running(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    home = tmp_path / "home"
    first = demo(home)
    assert "sha256" in first
    assert left_over(home) == []
    demo(home)
    assert left_over(home) == []
