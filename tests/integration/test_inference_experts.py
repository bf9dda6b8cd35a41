"""A mixture's experts with an adapter: room for it is made, or it is refused; real engines."""

import asyncio
from pathlib import Path

import pytest

from services.chassis.status import from_rpc_error
from services.inference.domain import Adapter
from services.inference.launching import Launcher
from services.inference.messages import target_of
from services.inference.settings import InferenceSettings
from services.runtime.model import load_tokenizer
from tests.fixtures.scripted_registry import ScriptedRegistry, failure, serving_registry
from tests.fixtures.served import serving
from tests.fixtures.tiny_kinds import EMBEDDING, EXPERTS, adapter_of, write_model
from tests.integration.test_inference_adapters import PROMPT, stock
from tests.integration.test_inference_batch import BASE
from tests.integration.test_inference_residency import listed
from tests.integration.test_inference_service import ask

# Room for two adapters of rank 1 that adapt no experts.
LITTLE = {"adapter_slots": 2, "adapter_rank": 1, "room_wait_seconds": 0.5}


@pytest.fixture
def mixture(tiny_model: Path, tmp_path: Path) -> Path:
    return write_model(tiny_model, tmp_path / "mixture", "qwen3_moe")


def publish(registry: ScriptedRegistry, mixture: Path, number: int, rank: int) -> Adapter:
    keys = (*EXPERTS, EMBEDDING, "lm_head")
    adapter = adapter_of(mixture, mixture.parent / f"v{number}", keys, rank)
    registry.versions[str(number)] = adapter
    return adapter


def text_of(mixture: Path, adapter: Adapter) -> str:
    tokens = stock(mixture, adapter, PROMPT)
    text: str = load_tokenizer(mixture).decode([token for token in tokens if token != 2])
    return text.rstrip("\ufffd")  # a letter that isn't whole is not told


async def test_an_adapter_of_experts_is_served_beside_the_base_and_the_lease_covers_it(
    mixture: Path, tmp_path: Path
) -> None:
    async with (
        serving_registry(mixture) as registry,
        serving(registry, tmp_path / "home", **LITTLE) as (_, stub),
    ):
        one, _ = (publish(registry, mixture, n, rank) for n, rank in ((1, 8), (2, 7)))
        asked = {version: ask(PROMPT, version=version, max_tokens=12) for version in ("1", "base")}
        assert (await stub.Generate(asked["base"])).text == text_of(mixture, BASE)
        [before] = (await listed(stub)).engines
        answers = await asyncio.gather(*(stub.Generate(asked[v]) for v in ("1", "base", "1")))
        assert [answer.text for answer in answers] == [
            text_of(mixture, one), text_of(mixture, BASE), text_of(mixture, one),
        ]  # fmt: skip
        assert answers[0].text != answers[1].text
        # There is no second engine, and none for the next adapter as large.
        stored = sum(file.stat().st_size for file in one.path.iterdir())
        await stub.Generate(ask(PROMPT, version="2", max_tokens=12))
        [after] = (await listed(stub)).engines
        assert after.pid not in (0, before.pid)
        assert after.adapters == 1, "they take turns"
        assert 0 < after.forecast_bytes - before.forecast_bytes < 3 * stored
        assert -1 < after.forecast_error < 0
        again = await stub.Generate(asked["base"])
        assert (await listed(stub)).engines[0].pid == after.pid
        assert again.text == answers[1].text


async def test_beyond_the_budget_it_is_refused_before_anything_is_read_or_ended(
    mixture: Path, tmp_path: Path
) -> None:
    async with serving_registry(mixture) as registry:
        publish(registry, mixture, 1, rank=8)
        room = Launcher(InferenceSettings(home=tmp_path, **LITTLE), print).room()  # type: ignore[arg-type]
        resolved = await registry.ResolveModel(ask(version="base"), None)  # type: ignore[arg-type]
        budget = room.forecast(target_of(resolved, Path).base)
        bounded = {**LITTLE, "memory_budget_bytes": budget}
        async with serving(registry, tmp_path / "home", **bounded) as (_, stub):
            asked = ask(PROMPT, version="1", max_tokens=12)
            errors = [from_rpc_error(await failure(stub.Generate(asked)), "inference")]
            await stub.Generate(ask(PROMPT, version="base"))
            [before] = (await listed(stub)).engines
            errors.append(from_rpc_error(await failure(stub.Generate(asked)), "inference"))
            for error in errors:
                assert error.reason == "OUT_OF_MEMORY"
                assert "raise MLX_HUB_MEMORY_BUDGET_BYTES" in error.message
                assert int(error.metadata["needed_bytes"]) > budget
                assert error.metadata["budget_bytes"] == str(budget)
            [after] = (await listed(stub)).engines
            assert (after.pid, after.steps) == (before.pid, before.steps)
            await stub.Generate(ask(PROMPT, version="base"))
