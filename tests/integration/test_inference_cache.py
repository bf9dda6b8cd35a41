"""The prefix cache of a real engine child: told, cleared, and on disk through its restart."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.chassis.errors import Unavailable
from services.inference.caching import PrefixCaches
from services.inference.domain import Base, Provenance, Target, Turn
from services.inference.prefix_files import files_in
from services.inference.settings import InferenceSettings
from tests.integration.test_inference_engine import LIMITS, Running, base_of, start

pytestmark = pytest.mark.asyncio(loop_scope="module")
SYSTEM = Turn("system", "You answer in verse, and never twice the same, whatever one asks. " * 3)
MEGABYTE = 1 << 20


class Node:
    """A home, an engine in it, and what the service knows of both."""

    def __init__(self, home: Path, model: Path) -> None:
        self.settings = InferenceSettings(
            home=home, prefix_cache_bytes=MEGABYTE, prefix_cache_disk_bytes=MEGABYTE
        )
        self.base = base_of(model)
        self.running: Running
        self.caches = PrefixCaches(lambda: [self.running.engine], self, self.settings)

    async def start(self) -> None:
        limits = replace(
            LIMITS,
            cache_bytes=self.settings.prefix_cache_bytes,
            cache_disk_bytes=self.settings.prefix_cache_disk_bytes,
            cache_folder=self.settings.prefix_cache_folder,
        )
        self.running = await start(self.base.path, limits)

    def base_of(self, model_id: int, version: str) -> None:
        return None

    async def resolve(self, model_id: int, version: str) -> Target:
        assert version == "base"
        base = self.base if model_id == 7 else Base("other", "0" * 64, Path(), 1, 1)
        return Target(base, None, Provenance(model_id, "m", base.name, base.digest))

    async def ask(self, question: str, **fields: Any) -> tuple[str, int]:
        text, done = await self.running.text(turns=(SYSTEM, Turn("user", question)), **fields)
        return text, done.cached_tokens

    async def told(self, **expected: float) -> None:
        """Wait until the engine says so of its cache."""
        while not expected.items() <= vars(self.running.engine.kept).items():
            self.running.told.clear()
            await self.running.told.wait()

    async def written(self) -> int:
        """Wait until no more is written, and give the number of files."""
        before = -1
        while before != (now := len(files_in(self.settings.prefix_cache_folder))):
            before = now
            await asyncio.sleep(0.3)
        return now


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    node = Node(tmp_path_factory.mktemp("home"), tiny_model)
    await node.start()
    yield node
    await node.running.engine.stop()


async def test_every_way_to_end_tells_the_cached_tokens(node: Node) -> None:
    text, cached = await node.ask("one?", max_tokens=40)
    assert cached == 0
    again, cached = await node.ask("one?", max_tokens=40)
    assert (again, cached > 100) == (text, True)
    assert (await node.ask("two?"))[1] > 100
    stopped, cached = await node.ask("one?", max_tokens=40, stop=(text[3:6],))
    assert (stopped, cached > 100) == (text[: text.index(text[3:6])], True)
    assert await node.ask("one?", max_tokens=40, cache_prompt=False) == (text, 0)
    assert (await node.ask("one?", cache_salt="mine"))[1] == 0


async def test_it_is_told_and_cleared_by_base_model(node: Node) -> None:
    await node.told(hits=3, misses=2)
    report = await node.caches.report()
    (engine,) = report.engines
    assert (engine.base.name, report.limit, report.disk_limit) == ("tiny", MEGABYTE, MEGABYTE)
    assert 0 < engine.kept.bytes <= MEGABYTE
    assert engine.kept.tokens_reused > 300
    ends = 3  # of two texts, one of which was asked for with a salt, too: shorter than a block
    written = await node.written()
    assert written == engine.kept.blocks - ends
    other = await node.caches.clear(8)
    assert (other.blocks, other.bytes, other.disk_bytes) == (0, 0, 0)
    cleared = await node.caches.clear(7)
    assert (cleared.blocks, cleared.bytes) == (engine.kept.blocks, engine.kept.bytes)
    block = 2 * 2 * 2 * 16 * 4 * 32  # keys and values of two layers, two heads of sixteen
    assert cleared.disk_bytes > written * block
    await node.told(blocks=0)
    report = await node.caches.report()
    assert (report.engines[0].kept.hits, report.disk_bytes) == (3, 0)
    assert (await node.ask("one?"))[1] == 0


async def test_files_outlive_the_engine_and_are_cleared_without_one(node: Node) -> None:
    text, _ = await node.ask("do you remember?")
    assert await node.written() > 3
    await node.running.engine.stop()
    await node.start()
    again, cached = await node.ask("do you remember?")
    assert (again, cached > 100) == (text, True)
    await node.running.engine.stop()
    cleared = await node.caches.clear(0)
    assert (cleared.blocks, cleared.bytes) == (0, 0)
    assert cleared.disk_bytes > 0
    assert files_in(node.settings.prefix_cache_folder) == []


async def test_files_that_stay_are_told(node: Node) -> None:
    stuck = node.settings.prefix_cache_folder / node.base.digest / "0.safetensors"
    (stuck / "in it").mkdir(parents=True)
    with pytest.raises(Unavailable, match="1 files of the prefix cache can't be removed"):
        await node.caches.clear(0)
    (stuck / "in it").rmdir()
    stuck.rmdir()
    await node.caches.clear(0)
