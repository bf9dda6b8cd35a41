"""Children of the stack: logged, stoppable, and never alive without it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from services.stack.home import Home
from services.stack.processes import LOG_BYTES, Process

PYTHON = sys.executable


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_output_goes_to_the_log_and_its_end_is_given(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "p.log"
    process = Process("p", [PYTHON, "-c", "for i in range(30): print('line', i)"], log)
    process.start()
    eventually(lambda: process.exit_code() == 0)
    assert process.last_lines(2) == "line 28\nline 29"
    process.start()
    eventually(lambda: process.exit_code() == 0)
    assert len(process.last_lines(100).splitlines()) == 30
    assert len(log.read_text().splitlines()) == 60


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    log.write_bytes(b"x" * (LOG_BYTES + 1))
    process = Process("p", ["true"], log)
    process.start()
    process.stop(10)
    assert log.stat().st_size == 0
    assert (tmp_path / "p.old.log").stat().st_size == LOG_BYTES + 1


def test_a_deaf_program_is_killed_with_its_children(tmp_path: Path) -> None:
    script = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    process = Process("p", [PYTHON, "-c", script], tmp_path / "p.log")
    process.start()
    eventually(lambda: process.last_lines() != "")
    grandchild = int(process.last_lines())
    process.stop(0.2)
    assert not process.alive()
    eventually(lambda: gone(grandchild))


def test_what_a_program_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    process = Process("p", [PYTHON, "-c", script], tmp_path / "p.log")
    process.start()
    eventually(lambda: process.exit_code() == 0)
    process.stop(10)
    eventually(lambda: gone(int(process.last_lines())))


def test_a_missing_program_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-program"):
        Process("p", ["no-such-program"], tmp_path / "p.log").start()


def test_a_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from services.stack.processes import Process\n"
        "process = Process('p', ['sleep', '600'], Path(sys.argv[1]))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    argv = [PYTHON, "-c", script, str(tmp_path / "p.log")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    if sys.platform == "linux":
        eventually(lambda: gone(child))
    else:
        os.kill(child, signal.SIGKILL)  # elsewhere the next stack does this, as below


def test_the_next_stack_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    home = Home(tmp_path)
    process = Process("p", ["sleep", "600"], tmp_path / "p.log")
    with home.claim():
        process.start()
        assert process.pid
        home.record_children([process.pid])
        (home.run / "kept.json").write_text((home.run / "children.json").read_text())
    (home.run / "kept.json").rename(home.run / "children.json")
    with home.claim():
        eventually(lambda: process.exit_code() == -signal.SIGKILL)
