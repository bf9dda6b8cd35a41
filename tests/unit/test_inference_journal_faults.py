"""A journal that can't write, or must not: no generation notices."""

import asyncio
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.chassis.errors import NotFound, Unavailable
from services.inference.journal import Journal, Wanted
from services.inference.record_messages import record_of
from tests.fixtures.generations import follow, opened


def unrecorded() -> float:
    value = REGISTRY.get_sample_value("mlx_hub_inference_generations_unrecorded_total")
    assert value is not None
    return value


KILLED = """
import asyncio, os, signal, sys, time
from pathlib import Path
from services.inference.domain import Delta, Generation
from services.inference.journal import Journal, Wanted
from services.inference.recording import Recording
from tests.fixtures.generations import follow, target

async def main():
    journal = Journal(Path(sys.argv[1]), 10)
    follow(journal, "whole")
    generation = Generation(prompt="x").begun("cut")
    Recording(journal, target(), generation, time.monotonic()).saw(Delta("half", 1))
    await journal.page(1, None, Wanted())
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_killed_service_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "generations.db"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path))
    assert await process.wait() == -signal.SIGKILL
    async with opened(path) as journal:
        outcomes = {entry.id: entry.outcome for entry in await journal.page(9, None, Wanted())}
        assert outcomes == {"whole": "finished", "cut": "lost"}
        assert record_of(await journal.get("whole")).tokens == 2


async def test_none_are_kept_where_none_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "generations.db"
    async with opened(path, 0) as journal:
        follow(journal)
        assert await journal.page(10, None, Wanted()) == []
        with pytest.raises(NotFound):
            await journal.get("g")
    assert not path.exists()


async def test_a_broken_file_fails_no_generation_and_is_replaced_when_it_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "generations.db"
    path.write_bytes(b"not a database" * 100)
    async with opened(path, 10) as journal:
        before = unrecorded()
        follow(journal)
        with pytest.raises(Unavailable) as caught:
            await journal.get("g")
        assert caught.value.metadata == {"dependency": "generation journal"}
        assert str(path) not in caught.value.message
        assert unrecorded() == before + 2
        path.unlink()
        follow(journal)
        assert record_of(await journal.get("g")).tokens == 2


async def test_a_full_disk_fails_no_generation(journal: Journal) -> None:
    follow(journal, "first")
    await journal.get("first")
    assert journal._connection
    journal._connection.execute("PRAGMA max_page_count = 1")
    before = unrecorded()
    for number in range(50):
        follow(journal, f"g{number}")
    await journal.page(1, None, Wanted())
    assert unrecorded() > before
    assert record_of(await journal.get("first")).tokens == 2
    assert record_of(await journal.get("g49")).tokens == 2, "recorded again once there is room"


async def test_a_disk_that_hangs_holds_up_no_answer(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.page(1, None, Wanted())
    monkeypatch.setattr(journal, "_places", threading.BoundedSemaphore(20))
    before = unrecorded()
    with locked(tmp_path / "home/generations.db"):
        for number in range(50):
            follow(journal, f"g{number}")
        assert unrecorded() >= before + 100 - 21, "what can't wait is counted, not kept"
    assert record_of(await journal.get("g0")).tokens == 2


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
