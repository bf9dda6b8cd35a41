"""The stack in the background, as `make up` and `make down` use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
from mlx_hub.client import Hub

from services.stack.plan import python
from services.stack.starter import NAME
from tests.e2e.rest import call
from tests.fixtures.stack import stack_environment


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = python("mlx_hub.cli", *words)
    env = stack_environment(home)
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=240)


def processes_of(home: Path) -> list[psutil.Process]:
    holder = int((home / "run" / "lock").read_text())
    stack = psutil.Process(holder)
    return [stack, *stack.children(recursive=True)]


def test_up_returns_when_everything_serves_and_down_when_nothing_runs(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    home = tmp_path / "home"
    up = run(home, "up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    ports = json.loads((home / "run" / "ports.json").read_text())
    assert f"http://127.0.0.1:{ports['gateway']}" in up.stdout
    assert call(f"http://127.0.0.1:{ports['gateway']}/health").status == 200
    with Hub(f"127.0.0.1:{ports['gateway']}") as hub:  # a first start brings a model along
        assert [base.name for base in hub.models.base_models()] == [NAME]
    family = processes_of(home)
    assert len(family) > 5
    again = run(home, "up", "--detach")
    assert (again.returncode, "already runs" in again.stderr) == (1, True)
    assert run(home, "down").returncode == 0
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    assert not (home / "run" / "ports.json").exists()


def test_a_stack_ends_with_whoever_holds_its_lifeline(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    home = tmp_path / "home"
    script = (
        "import time\n"
        "from services.stack import launch\n"
        "from services.stack.settings import StackSettings\n"
        "with launch.running(StackSettings(), print) as stack:\n"
        "    print('ours', stack.ours, flush=True)\n"
        "    time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(
        argv, env=stack_environment(home), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout
        assert any(line == "ours True\n" for line in demo.stdout)
        family = processes_of(home)
        os.kill(demo.pid, 9)
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == []
