"""What must not end the supervisor, since nothing else would notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.presence import Presence
from services.trainer.recipe import DEFAULTS
from services.trainer.supervisor import Supervisor

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = TrainingJob(1, JobStatus.RUNNING, 1, 1, DEFAULTS, 3, NOW, attempt=1)


@dataclass
class Parts:
    """A queue, its store, bell, workspace and attempts, which all fail as often as told."""

    faults: dict[str, int]
    done: list[str] = field(default_factory=list)
    all_done: asyncio.Event = field(default_factory=asyncio.Event)

    def _maybe(self, what: str) -> None:
        if self.faults.get(what, 0):
            self.faults[what] -= 1
            raise OSError(what)

    async def claim(self, owner: str, node: str, dead: object) -> TrainingJob | None:
        self._maybe("claim")
        return None if self.all_done.is_set() else JOB

    async def lose(self, token: object, message: str) -> TrainingJob:
        self.done.append("lose")
        self._maybe("lose")
        return JOB

    @asynccontextmanager
    async def held(self, job_ids: object) -> AsyncIterator[dict[int, JobStatus]]:
        yield {}

    def job_ids(self) -> list[int]:
        self._maybe("sweep")
        return []

    def set_aside(self, job_ids: object, statuses: object) -> None:
        """Nothing lies there."""

    def sweep(self) -> None:
        """Nothing was set aside."""

    def ticket(self, *, changes_only: bool = False) -> None:
        """Nobody rings."""

    async def wait(self, ticket: object) -> None:
        await asyncio.sleep(0)

    def ring(self) -> None:
        """Nobody listens."""

    def interrupt(self) -> None:
        """It does not run for long."""

    async def run(self) -> TrainingJob:
        self._maybe("run")
        self.done.append("run")
        self.all_done.set()
        return JOB


@pytest.mark.parametrize("faults", [{"claim": 2}, {"sweep": 2}, {"run": 1}, {"run": 2, "lose": 2}])
async def test_a_fault_is_logged_and_the_next_job_runs(
    faults: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts: Any = Parts(dict(faults))
    supervisor = Supervisor(
        queue=parts,
        store=parts,
        bell=parts,
        workspace=parts,
        attempts=lambda _: parts,
        presence=Presence(tmp_path, "node"),
        node="node",
    )
    await supervisor.start()
    async with asyncio.timeout(30):
        await parts.all_done.wait()
    await supervisor.stop()
    assert parts.done == [*["lose"] * faults.get("run", 0), "run"]
    assert all(fault in caplog.text for fault in faults)
