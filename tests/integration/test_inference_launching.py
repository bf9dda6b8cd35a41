"""What is checked before an engine starts, and what the registry's answers may not do."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlx_hub.registry.v1 import base_model_pb2, registry_service_pb2_grpc
from mlx_hub.registry.v1 import registry_service_pb2 as pb

from services.chassis.channels import connect
from services.chassis.errors import DataLoss, Exhausted, HubError, Unavailable
from services.chassis.requests import Context
from services.chassis.server import HubServer
from services.chassis.settings import HubSettings
from services.inference.catalogue import Catalogue
from services.inference.domain import Base
from services.inference.drafts import DraftModels
from services.inference.launching import Launcher
from services.inference.residency import Residency
from services.inference.seat import Outfit
from services.inference.settings import InferenceSettings
from services.runtime.folder import digest_of, hash_files, inspect_model_folder
from tests.fixtures.flips import flips
from tests.fixtures.scripted_registry import ScriptedRegistry
from tests.fixtures.tiny_adapters import write_adapter
from tests.fixtures.tiny_kinds import write_model


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Base:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    found = inspect_model_folder(folder)
    return Base("tiny", found.digest, folder, found.parameters, found.size_bytes)


def launcher(base: Base, **settings: int) -> Launcher:
    here = InferenceSettings(home=base.path.parent, **settings)  # type: ignore[arg-type]
    return Launcher(here, lambda name, stats: None)


async def refusal(base: Base, outfit: Outfit | None = None, **settings: int) -> HubError:
    """Give the error of the first request for a base model."""

    async def set_serving(serving: bool) -> None:
        raise AssertionError(serving)

    starting = launcher(base, **settings)
    residency = Residency(starting.start, starting.room(outfit), set_serving, print)
    with pytest.raises(HubError) as caught:
        async with residency.use(base):
            pass
    await residency.close()
    return caught.value


async def test_a_model_larger_than_the_budget_is_refused_with_the_numbers(base: Base) -> None:
    error = await refusal(base, memory_budget_bytes=1_000_000)
    assert isinstance(error, Exhausted)
    assert error.reason == "OUT_OF_MEMORY"
    assert error.metadata["budget_bytes"] == "1000000"
    assert int(error.metadata["needed_bytes"]) > 400_000_000
    assert int(error.metadata["free_bytes"]) <= 1_000_000


FILES = [
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "config.json",
]


@pytest.mark.parametrize("name", FILES)
async def test_any_changed_bit_keeps_a_base_model_from_being_loaded(base: Base, name: str) -> None:
    assert {path.name for path in base.path.iterdir()} == set(FILES)
    starting = launcher(base)
    lease = starting.room().ledger.take("engine", 1)
    for _ in flips(base.path / name, times=20):
        with pytest.raises(DataLoss) as caught:
            await starting.start(base, lease)
        assert caught.value.reason == "ARTIFACT_CORRUPT"


@pytest.fixture
def full(base: Base, tmp_path: Path) -> Base:
    """Give a version that has an engine of its own; its files are hashed, not read."""
    folder = write_adapter(tmp_path / "full", 1, rank=2, keys=("mlp.down_proj",)).path
    (folder / "manifest.json").write_text("{}")
    files = hash_files(folder, "adapters.safetensors", "adapter_config.json")
    return Base("bot:9", digest_of(files), folder, base.parameters, 10**6, under=base)


@pytest.mark.parametrize("name", ["adapters.safetensors", "adapter_config.json"])
async def test_any_changed_bit_keeps_a_version_from_its_own_engine(full: Base, name: str) -> None:
    starting = launcher(full)
    lease = starting.room().ledger.take("engine", 1)
    for _ in flips(full.path / name, times=20):
        with pytest.raises(DataLoss, match="not what was published") as caught:
            await starting.start(full, lease)
        assert caught.value.reason == "ARTIFACT_CORRUPT"
    assert full.under is not None
    for _ in flips(full.under.path / "config.json", times=5):
        with pytest.raises(DataLoss, match="not what was imported"):
            await starting.start(full, lease)


def test_room_for_adapters_is_forecast_by_rank_and_slots(base: Base, full: Base) -> None:
    least, larger, more = (
        launcher(base, **fields).room()
        for fields in ({"adapter_rank": 1}, {"adapter_rank": 64}, {"adapter_slots": 17})
    )
    # Both sides of the seven layers of each of two blocks, and of the embedding.
    share = (2 * (128 + 96 + 96 + 128 + 3 * 192) + 259 + 64) * 4
    assert [room.adapters(base) for room in (least, larger, more)] == [
        16 * share, 16 * 64 * share, 17 * 16 * share,
    ]  # fmt: skip
    # Once as they are, once side by side, and one that is read meanwhile.
    assert larger.forecast(base) - least.forecast(base) == (2 * 16 + 1) * 63 * share
    assert more.forecast(base) - least.forecast(base) == (2 * 17 * 16 + 16 - 2 * 16 - 1) * share
    assert larger.forecast(full) == least.forecast(full) < least.forecast(base) + full.size_bytes
    assert larger.adapters(full) == 0


def test_an_adapter_as_large_as_a_mixtures_experts_has_room_of_its_own_size(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = write_model(tiny_model, tmp_path / "experts", "qwen3_moe")
    found = inspect_model_folder(folder)
    base = Base("experts", found.digest, folder, found.parameters, found.size_bytes)
    room = launcher(base, adapter_slots=2, adapter_rank=1).room()
    # Attention, the gate of four experts, the embedding and the head; no expert.
    share = (2 * (128 + 96 + 96 + 128 + 68) + 2 * (259 + 64)) * 4
    assert room.adapters(base) == 2 * share
    for size, of_all in ((share, 2 * share), (2 * share, 2 * share), (5 * share, 5 * share)):
        asked = replace(base, adapter_bytes=size)
        assert room.adapters(asked) == of_all
        # The largest is read while others are in use.
        assert room.forecast(asked) - room.forecast(base) == 2 * of_all + size - 5 * share


def outfits(draft: Base | None) -> Outfit:
    """Have `small` draft for `tiny`, if there is a model of that name."""

    async def bases() -> dict[str, Base]:
        return {"small": draft} if draft else {}

    return DraftModels({"tiny": "small"}, bases).outfit


def small_of(base: Base) -> Base:
    return replace(base, name="small", digest="5" * 64, parameters=10**6, size_bytes=10**6)


async def test_what_can_not_draft_is_refused_by_name_when_the_engine_starts(base: Base) -> None:
    for draft, why in ((None, "there is no base model small"), (base, "is the same model")):
        error = await refusal(base, outfits(draft))
        assert error.reason == "ENGINE_START_FAILED"
        assert "MLX_HUB_DRAFT_MODELS says that small drafts for tiny" in error.message
        assert why in error.message
    assert await outfits(None)(replace(base, name="other")) == replace(base, name="other")


async def test_a_draft_model_is_part_of_the_forecast_and_its_files_are_verified(
    base: Base, full: Base
) -> None:
    outfit, forecast = outfits(small_of(base)), launcher(base).room().forecast
    for each in (base, full):
        drafted = await outfit(each)
        keys_and_values = 2 * 2 * 2 * 16 * 16384 * 4
        assert 4 * 10**6 + keys_and_values < forecast(drafted) - forecast(each) < 2 * 10**8
    budget = forecast(base) + 10**6
    error = await refusal(base, outfit, memory_budget_bytes=budget)
    assert (error.reason, error.metadata["budget_bytes"]) == ("OUT_OF_MEMORY", str(budget))
    # Nobody hashed the million bytes that the draft model is said to have.
    error = await refusal(base, outfit)
    assert (error.reason, "files of small" in error.message) == ("ARTIFACT_CORRUPT", True)


class Paged(registry_service_pb2_grpc.RegistryServiceServicer):
    """Lists one base model a page."""

    async def ListBaseModels(
        self, request: pb.ListBaseModelsRequest, context: Context
    ) -> pb.ListBaseModelsResponse:
        name, following = ("small", "") if request.page_token else ("tiny", "1")
        listed = [base_model_pb2.BaseModel(name=name, artifact_path=f"base/{name}")]
        return pb.ListBaseModelsResponse(base_models=listed, next_page_token=following)


async def test_base_models_are_found_by_their_names(tmp_path: Path) -> None:
    server = HubServer("registry", HubSettings(drain_seconds=0))
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(Paged(), server.grpc)  # type: ignore[abstract]
    channel = connect(f"127.0.0.1:{await server.start(0)}")
    found = await Catalogue(channel, tmp_path).base_models()
    assert {name: base.path for name, base in found.items()} == {
        name: tmp_path / "base" / name for name in ("tiny", "small")
    }
    await channel.close()
    await server.stop()


async def test_missing_files_are_damage(base: Base) -> None:
    (base.path / "tokenizer.json").unlink()
    for path in (base.path, base.path / "gone"):
        error = await refusal(replace(base, path=path))
        assert isinstance(error, DataLoss)
        assert error.reason == "ARTIFACT_CORRUPT"
        assert str(base.path.parent) not in error.message


async def test_damage_is_named_however_often_one_asks(base: Base) -> None:
    (base.path / "tokenizer.json").write_text("{}")
    starting = launcher(base)
    residency = Residency(starting.start, starting.room(), lambda _: asyncio.sleep(0), print)
    for _ in range(5):
        with pytest.raises(DataLoss):
            async with residency.use(base):
                pass
    await residency.close()


def test_the_default_budget_leaves_room_on_this_machine(base: Base) -> None:
    room = launcher(base).room()
    assert 0 < room.forecast(base) < room.ledger.budget
    assert room.ledger.room().free > 0


async def test_the_registry_can_not_name_files_outside_the_archive(
    scripted_registry: ScriptedRegistry, tmp_path: Path
) -> None:
    channel = connect(f"127.0.0.1:{scripted_registry.port}")
    with pytest.raises(DataLoss):
        await Catalogue(channel, tmp_path / "archive").resolve(7, "")
    await channel.close()


async def test_aliases_are_asked_for_each_time(scripted_registry: ScriptedRegistry) -> None:
    channel = connect(f"127.0.0.1:{scripted_registry.port}")
    catalogue = Catalogue(channel, Path("/"))
    for version, asked in (("", 1), ("", 2), ("base", 3), ("base", 3)):
        await catalogue.resolve(7, version)
        assert scripted_registry.asked == asked
    await channel.close()


async def test_a_registry_that_is_away_is_named() -> None:
    channel = connect("127.0.0.1:9")
    with pytest.raises(Unavailable) as caught:
        await Catalogue(channel, Path("/")).resolve(7, "")
    assert caught.value.metadata == {"dependency": "registry"}
    with pytest.raises(Unavailable):
        await Catalogue(channel, Path("/")).served()
    await channel.close()
