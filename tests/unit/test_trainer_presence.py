"""A trainer whose process is gone is known to be dead; one that is only silent is not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.trainer.presence import Presence

HOLD = (
    "import sys, time; from pathlib import Path\n"
    "from services.trainer.presence import Presence\n"
    "other = Presence(Path(sys.argv[1]), 'node'); other.hold()\n"
    "print(other.owner, flush=True); time.sleep(600)\n"
)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_dead_are_told_from_the_silent(tmp_path: Path, end: signal.Signals) -> None:
    own = Presence(tmp_path, "node")
    own.hold()
    argv = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert own.dead() == {}
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert own.dead() == {}, "stopped is not dead"
        process.send_signal(signal.SIGCONT)
        process.send_signal(end)
        process.wait()
    dead = own.dead()
    assert list(dead) == [owner] != [own.owner]
    own.forget(dead)
    assert own.dead() == {}
    own.release()
    assert list(tmp_path.iterdir()) == []


def test_one_that_ended_by_itself_leaves_nothing(tmp_path: Path) -> None:
    first, second = Presence(tmp_path, "node"), Presence(tmp_path, "node")
    first.hold()
    second.hold()
    assert first.dead() == {}
    second.release()
    assert first.dead() == {}
    assert len(list(tmp_path.iterdir())) == 1
