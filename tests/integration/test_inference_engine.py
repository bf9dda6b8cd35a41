"""The real engine child on a tiny model, over its real socket."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from mlx_hub.internal.v1 import engine_pb2
from safetensors.numpy import save_file

from services.chassis.errors import DataLoss, FailedPrecondition, HubError, Invalid, Unavailable
from services.chassis.leases import Lease, Ledger
from services.inference.domain import Adapter, Base, Delta, EngineLimits, Finished, Generation, Turn
from services.inference.process import EngineProcess
from services.runtime.folder import inspect_model_folder
from tests.fixtures.flips import flips
from tests.fixtures.tiny_adapters import checksum, write_adapter
from tests.fixtures.tiny_model import KV_HEADS, LAYERS, write_tiny_model

LIMITS = EngineLimits(rows=6, kv_tokens=8192, adapter_slots=2)
# One engine serves all tests that do not end it.
pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMPTS = ("The capital of", "one two three four five six seven", "x")


class Running:
    """An engine, and what it says of itself."""

    def __init__(self) -> None:
        self.stats: list[engine_pb2.EngineStats] = []
        self.told = asyncio.Event()
        self.engine: EngineProcess

    def on_stats(self, base_model: str, stats: engine_pb2.EngineStats | None) -> None:
        self.stats.append(stats or engine_pb2.EngineStats())
        self.told.set()

    async def text(self, adapter: Adapter | None = None, **fields: object) -> tuple[str, Finished]:
        text = ""
        generation = Generation(**{"max_tokens": 24, **fields})  # type: ignore[arg-type]
        async with aclosing(self.engine.generate(generation, adapter)) as frames:
            async for frame in frames:
                if isinstance(frame, Finished):
                    return text, frame
                text += frame.text
        raise AssertionError("an answer without an end")

    async def until(self, seen: Callable[[engine_pb2.EngineStats], bool]) -> None:
        while not self.stats or not seen(self.stats[-1]):
            self.told.clear()
            await self.told.wait()


def base_of(folder: Path) -> Base:
    found = inspect_model_folder(folder)
    return Base("tiny", found.digest, folder, found.parameters, found.size_bytes)


def lease_in(folder: Path) -> Lease:
    return Ledger(folder.parent / "memory", 1, lambda: 1).take("engine", 0)


async def start(folder: Path, limits: EngineLimits = LIMITS, draft: Base | None = None) -> Running:
    running = Running()
    base, lease = replace(base_of(folder), draft=draft), lease_in(folder)
    running.engine = await EngineProcess.start(base, limits, lease, 120, running.on_stats)
    return running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tiny_model: Path) -> AsyncIterator[Running]:
    running = await start(tiny_model, draft=base_of(tiny_model))
    yield running
    await running.engine.stop()


async def test_rows_of_a_mixed_batch_answer_as_they_do_alone(
    running: Running, adapters: list[Adapter]
) -> None:
    asked = [(a, p) for p in PROMPTS for a in (None, adapters[0], adapters[1])]
    alone = [await running.text(a, prompt=p) for a, p in asked]
    mixed = await asyncio.gather(*(running.text(a, prompt=p) for a, p in asked))
    assert [text for text, _ in mixed] == [text for text, _ in alone]
    assert len({text for text, _ in alone[:3]}) == 3, "the adapters change nothing"


async def test_more_adapters_than_slots_take_turns(
    running: Running, adapters: list[Adapter]
) -> None:
    alone = [(await running.text(a, prompt="turn"))[0] for a in adapters]
    asked = [running.text(a, prompt="turn") for a in (*adapters, *reversed(adapters), None)]
    together = [text for text, _ in await asyncio.gather(*asked)]
    assert together[:6] == [*alone, *reversed(alone)]


async def test_drafts_give_the_same_text_and_are_counted(running: Running) -> None:
    # The second repeats nothing: only the draft model, which is the same, guesses there.
    for asked in ({"prompt": "la la la la la la", "max_tokens": 120}, {"prompt": "abc"}):
        plain, without = await running.text(**asked)
        drafted, finished = await running.text(drafting=True, **asked)
        assert (drafted, finished.tokens) == (plain, without.tokens)
        assert 0 < finished.accepted_tokens <= finished.drafted_tokens
        assert (without.drafted_tokens, without.draft_model) == (0, "")
    assert finished.draft_model == "tiny"


async def test_a_seed_gives_the_same_text_whatever_else_is_in_the_batch(
    running: Running,
) -> None:
    wild: dict[str, Any] = {
        "temperature": 1.5, "top_p": 0.95, "top_k": 1000, "min_p": 0.001, "prompt": "dice",
    }  # fmt: skip
    alone = await running.text(seed=7, **wild)
    others = [running.text(seed=n, **wild) for n in (1, 7, 2)]
    mixed = await asyncio.gather(*others, running.text(prompt="greedy"))
    assert mixed[1][0] == alone[0]
    assert len({text for text, _ in mixed}) == 4


async def test_a_refused_request_leaves_its_neighbours_alone(running: Running) -> None:
    alone = await running.text(prompt="steady")
    steady = asyncio.create_task(running.text(prompt="steady"))
    with pytest.raises(Invalid) as caught:
        await running.text(prompt="x" * 3000)
    assert caught.value.reason == "PROMPT_TOO_LONG"
    with pytest.raises(Invalid):
        await running.text(prompt="")
    with pytest.raises(Invalid) as caught:
        await running.text(prompt="x", logit_bias={10**6: 1.0})
    assert [v.field for v in caught.value.violations] == ["logit_bias"]
    assert (await steady)[0] == alone[0]


async def test_messages_take_the_template_and_a_prompt_does_not(running: Running) -> None:
    _, chat = await running.text(turns=(Turn("user", "hi"),))
    _, plain = await running.text(prompt="hi")
    assert plain.prompt_tokens == 2
    assert chat.prompt_tokens > 20


async def test_generation_ends_at_max_tokens_and_before_a_stop_string(running: Running) -> None:
    text, finished = await running.text(prompt="stop here", max_tokens=40)
    assert (finished.reason, finished.tokens) == ("length", 40)
    stop = text[5:8]
    cut, finished = await running.text(prompt="stop here", max_tokens=40, stop=(stop,))
    assert finished.reason == "stop"
    assert cut == text[: text.index(stop)]


async def test_likelihoods_come_with_the_text(running: Running) -> None:
    generation = Generation(prompt="how likely", max_tokens=20, logprobs=True, top_logprobs=2)
    async with aclosing(running.engine.generate(generation, None)) as frames:
        deltas = [frame async for frame in frames if isinstance(frame, Delta)]
    told = [entry for delta in deltas for entry in delta.logprobs]
    assert [len(entry.top) for entry in told] == [2] * 20
    assert all(entry.token == entry.top[0] for entry in told), "greedy takes the likeliest"
    made = b"".join(entry.token.bytes for entry in told)
    assert made.decode(errors="replace").startswith("".join(d.text for d in deltas))


async def test_one_who_leaves_frees_the_row_at_once(running: Running) -> None:
    generation = Generation(prompt="long", max_tokens=1900)
    async with aclosing(running.engine.generate(generation, None)) as frames:
        async for frame in frames:
            assert isinstance(frame, Delta)
            break
    await running.until(lambda stats: not stats.running)
    assert running.stats[-1].tokens_generated < 1900


async def test_every_token_but_the_first_of_each_answer_has_its_time(running: Running) -> None:
    await running.text(prompt="first")
    await running.engine.clear_cache()  # told behind the last numbers of what was answered before
    before = running.stats[-1]
    await running.text(prompt="alone")
    await asyncio.gather(*(running.text(prompt=prompt, max_tokens=60) for prompt in PROMPTS))
    await running.until(lambda stats: not stats.running)
    last = running.stats[-1]
    made = last.tokens_generated - before.tokens_generated
    timed = sum(last.inter_token_seconds.counts) - sum(before.inter_token_seconds.counts)
    assert timed == made - 1 - len(PROMPTS)
    assert 0 < last.inter_token_seconds.sum - before.inter_token_seconds.sum < 60
    assert sum(last.rows_per_step.counts) == last.steps


async def test_a_killed_engine_tells_every_request(tiny_model: Path) -> None:
    running = await start(tiny_model)
    waiting = [asyncio.create_task(running.text(prompt="x", max_tokens=1900)) for _ in range(3)]
    running.told.clear()
    await running.told.wait()
    os.kill(running.engine.pid, signal.SIGKILL)
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, Unavailable)
        assert result.reason == "ENGINE_DIED"
    with pytest.raises(Unavailable):
        await running.text(prompt="x")
    await running.engine.ended.wait()


async def test_an_engines_memory_is_its_own_until_it_ends(tiny_model: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 100, lambda: 100)
    lease = ledger.take("engine", 60)
    engine = await EngineProcess.start(base_of(tiny_model), LIMITS, lease, 120, Running().on_stats)
    assert ledger.room().held == 60
    os.kill(engine.pid, signal.SIGKILL)
    await engine.ended.wait()
    assert ledger.room().held == 0


async def test_signals_to_the_group_do_not_end_an_engine_but_its_service_does(
    tiny_model: Path,
) -> None:
    running = await start(tiny_model)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(running.engine.pid, number)
    await running.text(prompt="still here")
    await running.engine.stop()
    assert running.engine.ended.is_set()
    with pytest.raises(ProcessLookupError):
        os.kill(running.engine.pid, 0)


@pytest.mark.parametrize("name", ["adapters.safetensors", "adapter_config.json"])
async def test_any_changed_bit_keeps_an_adapter_from_being_loaded(
    running: Running, adapters: list[Adapter], tmp_path: Path, name: str
) -> None:
    before, _ = await running.text(adapters[0], prompt="x")
    # Of its own: one that is resident isn't read again.
    adapter = write_adapter(tmp_path / "new", len(name), rank=4, keys=("mlp.down_proj",))
    for _ in flips(adapter.path / name, times=30):
        with pytest.raises(DataLoss) as caught:
            await running.text(adapter, prompt="x")
        assert caught.value.reason == "ARTIFACT_CORRUPT"
    await running.text(adapter, prompt="x")
    assert (await running.text(adapters[0], prompt="x"))[0] == before
    with pytest.raises(DataLoss):
        await running.text(Adapter("0" * 64, tmp_path / "gone"), prompt="x")


async def test_an_adapter_for_another_model_is_refused_and_leaves_no_trace(
    running: Running, adapters: list[Adapter], tmp_path: Path
) -> None:
    before = await running.text(adapters[0], prompt="x")
    wrong = tmp_path / "wrong"
    shutil.copytree(adapters[1].path, wrong)
    weights = {"model.layers.0.self_attn.q_proj.lora_a": np.zeros((32, 8), np.float32)}
    weights["model.layers.0.self_attn.q_proj.lora_b"] = np.zeros((8, 64), np.float32)
    save_file(weights, wrong / "adapters.safetensors")
    with pytest.raises(FailedPrecondition):
        await running.text(Adapter(checksum(wrong), wrong), prompt="x")
    save_file({"model.norm.lora_a": np.zeros((2, 8), np.float32)}, wrong / "adapters.safetensors")
    with pytest.raises(FailedPrecondition):
        await running.text(Adapter(checksum(wrong), wrong), prompt="x")
    assert (await running.text(adapters[0], prompt="x"))[0] == before[0]
    assert (await running.text(adapters[2], prompt="x"))[0] != before[0]


async def test_requests_beyond_the_token_budget_wait_for_room(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, head_dim=64)
    small = await start(tmp_path, EngineLimits(6, 1024, 1, cache_bytes=10**7, kv_bits=8))
    asked = [small.text(prompt=str(n) * 400, max_tokens=50) for n in range(4)]
    answers = await asyncio.gather(*asked)
    assert [finished.tokens for _, finished in answers] == [50] * 4
    assert max(s.running for s in small.stats) <= 2
    await small.until(lambda stats: stats.cache.bytes > 0)
    assert small.stats[-1].cache.bytes <= 2 * LAYERS * KV_HEADS * 64 * 4 * 450 * (1 + 8 / 64)
    with pytest.raises(Invalid, match="1024"):
        await small.text(prompt="x" * 1000, max_tokens=100)
    await small.engine.stop()


async def test_a_model_that_can_not_be_served_says_why(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nobody_knows"}))
    with pytest.raises(HubError) as caught:
        await start(folder)
    assert caught.value.reason == "ENGINE_START_FAILED"
    assert str(tmp_path) not in caught.value.message


async def test_a_load_that_takes_too_long_is_ended(tiny_model: Path) -> None:
    base, lease = base_of(tiny_model), lease_in(tiny_model)
    with pytest.raises(Unavailable) as caught:
        await EngineProcess.start(base, LIMITS, lease, 0.05, Running().on_stats)
    assert caught.value.reason == "ENGINE_START_FAILED"
    children = psutil.Process().children(recursive=True)
    assert len([c for c in children if "services.inference.engine" in c.cmdline()]) <= 1
