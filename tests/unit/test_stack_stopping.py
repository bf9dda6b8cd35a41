"""Stopping a stack: nothing of it is left when it is said to be stopped."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.stack.errors import StackError
from services.stack.home import Home, stop_holder

# It frees the home first and ends later, as an interpreter with threads does.
HOLDER = """
import signal, sys, time
from pathlib import Path
from services.stack.home import Home

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
with Home(Path(sys.argv[1])).claim():
    print("held", flush=True)
    while not told or sys.argv[2] == "deaf":
        time.sleep(0.01)
time.sleep(0.7)
"""


@contextmanager
def holder(home: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLDER, str(home), kind]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_stack_is_stopped_once_its_process_has_ended(tmp_path: Path) -> None:
    with holder(tmp_path / "home", "late") as process:
        assert stop_holder(Home(tmp_path / "home"), 10)
        assert process.poll() == 0, "its home was free, and it still ran"


def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    with holder(tmp_path / "home", "deaf") as process:
        with pytest.raises(StackError, match=r"did not stop in 0\.3 s; killed it"):
            stop_holder(Home(tmp_path / "home"), 0.3)
        assert process.poll() == -9
