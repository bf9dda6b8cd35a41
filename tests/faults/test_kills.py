"""SIGKILL at random points, of each process in turn: nothing is lost, stuck or doubled."""

import random
import sys

import pytest

from tests.faults.kill_program import Machine, check
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.rows import ROWS, register

SEED = 20_301


@pytest.mark.timeout(7200)
async def test_nothing_is_lost_however_often_it_is_killed(
    hub: RunningRegistry, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = int(pytestconfig.getoption("--kills"))
    model, dataset = await hub.model(), await register(hub, "rows", ROWS)
    machine = Machine(hub.settings.home, hub.settings.database_url, random.Random(SEED))  # noqa: S311
    machine.start("registry")
    machine.start("trainer")
    try:
        # Two that nobody touches, then as many as the kills take.
        await machine.queue(model.id, dataset, 2)
        await machine.settled()
        while machine.killed.total() < kills:
            await machine.queue(model.id, dataset, 4)
            await machine.kill_often(kills)
        await machine.settled()
        # What a kill between rename and row left is known by nobody, and goes.
        await machine.again("registry", MLX_HUB_ORPHAN_GRACE_SECONDS="0")
        await machine.serving("registry")
    finally:
        machine.stop()
    with capsys.disabled():
        # The error stream: xdist keeps the other one to itself.
        print(f"\nseed {SEED}: {check(machine)}", file=sys.stderr)
