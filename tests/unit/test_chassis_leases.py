"""One budget for all processes: raced for, inherited, freed by any death, and read with care."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from services.chassis import leases, memory
from services.chassis.errors import Unavailable
from services.chassis.leases import Lease, Ledger, NoRoom, Room

GIB = 1024**3
FORK = get_context("fork")
PLENTY = 1000
type Racer = tuple[ForkProcess, Connection]


def ledger_in(folder: Path, budget: int = 100, available: int = PLENTY) -> Ledger:
    return Ledger(folder, budget, lambda: available)


def race(ledger: Ledger, size: int, barrier: Barrier, answer: Connection) -> None:
    """Take a lease at the same moment as the others, say how it went, and hold it."""
    barrier.wait()
    try:
        lease: Lease | None = ledger.take("engine", size)
    except NoRoom:
        lease = None
    answer.send(lease is not None)
    answer.recv()


@pytest.fixture
def racers(tmp_path: Path) -> Iterator[list[Racer]]:
    """Give twelve processes that all went for 30 of 100 bytes at once."""
    barrier, started = FORK.Barrier(12), []
    for _ in range(12):
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=race, args=(ledger_in(tmp_path), 30, barrier, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    yield started
    for process, _ in started:
        process.kill()
        process.join()


def test_of_many_processes_as_many_as_fit_get_the_bytes(
    racers: list[Racer], tmp_path: Path
) -> None:
    won = [racer for racer in racers if racer[1].recv()]
    ledger = ledger_in(tmp_path)
    assert len(won) == 3
    assert ledger.room() == Room(100, 90, 10)
    with pytest.raises(NoRoom) as caught:
        ledger.take("engine", 11)
    assert (caught.value.needed, caught.value.room.free) == (11, 10)
    # A killed holder's bytes are free at once.
    process = won[0][0]
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    ledger.take("engine", 40).release()
    assert ledger.room().held == 60
    assert len(list(tmp_path.glob("*.lease"))) == 2


def test_a_child_holds_the_lease_that_it_inherited(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    lease = ledger.take("engine", 60)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleep, pass_fds=(lease.fileno(),)) as child:
        lease.release()
        assert ledger.room().held == 60
        child.kill()
    assert ledger.room().held == 0


def test_a_lease_ends_with_its_release(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    with ledger.take("engine", 100), pytest.raises(NoRoom):
        ledger.take("job-1", 1)
    ledger.take("job-1", 100).release()
    assert ledger.room() == Room(100, 0, 100)
    assert not list(tmp_path.glob("*.lease"))


def test_what_is_promised_but_not_yet_allocated_is_not_there_for_others(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path, available=50)
    with ledger.take("engine", 40) as lease:
        assert ledger.room().free == 10
        lease.settle()
        assert ledger.room().free == 50
    lease.settle()


def test_a_job_that_waits_is_served_before_engines(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    assert ledger.missing() == 0
    engine = ledger.take("engine", 70)
    with ledger.wish("job-1", 60):
        assert ledger.missing() == 30
        # It could not begin now: what it can't use is not kept from others.
        ledger.take("engine", 30).release()
        engine.release()
        assert ledger.missing() == 0
        with pytest.raises(NoRoom):
            ledger.take("engine", 41)
        ledger.take("engine", 40).release()
        ledger.take("job-1", 60, first=True).release()
    assert ledger.missing() == 0
    ledger.take("engine", 100).release()


def test_a_wish_ends_with_whoever_had_it(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    dead = ledger.wish("job-1", 100)
    dead.release()
    assert ledger.missing() == 0
    ledger.take("engine", 100).release()


def test_files_that_are_no_leases_count_for_nothing_and_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "engine.many.lease").write_text("?")
    ledger = ledger_in(tmp_path)
    assert ledger.room().free == 100
    assert (tmp_path / "notes.txt").exists()
    assert "notes.txt" in caplog.text


def test_what_a_crash_left_is_removed_whatever_it_holds(tmp_path: Path) -> None:
    for letter, content in (("a", b""), ("b", b"\xff\x00")):
        (tmp_path / f"engine.60.{letter * 32}.lease").write_bytes(content)
    ledger = ledger_in(tmp_path)
    assert ledger.room().held == 0
    assert not list(tmp_path.glob("*.lease"))


def test_a_lease_that_can_not_be_opened_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"engine.60.{'a' * 32}.lease"
    path.touch()
    opened = Path.open

    def refuse(self: Path, mode: str = "r") -> object:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return opened(self, mode)

    monkeypatch.setattr(Path, "open", refuse)
    ledger = ledger_in(tmp_path)
    assert ledger.room().held == 60
    assert "counts as held" in caplog.text


def test_a_process_that_stopped_in_the_middle_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_GUARD_SECONDS", 0.0)
    ledger = ledger_in(tmp_path)
    with ledger._guarded(), pytest.raises(Unavailable) as caught:
        ledger.room()
    assert caught.value.metadata == {"dependency": "memory"}


@pytest.mark.parametrize(
    ("total", "budget"), [(48, 36), (64, 48), (24, 12), (16, 8), (8, 4), (192, 144)]
)
def test_the_budget_leaves_room_for_everything_else(total: int, budget: int) -> None:
    assert memory.default_budget(total * GIB) == budget * GIB


def test_a_container_with_less_memory_than_its_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.total_bytes() > 1_000_000
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert (memory.total_bytes(), memory.available_bytes()) == (1_000_000, 600_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > 1_000_000
