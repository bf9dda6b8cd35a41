"""The operator's export and import beside a real registry, down to the engine that serves them."""

import asyncio
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx_hub.registry.v1 import lineage_pb2, version_pb2
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.inference.domain import Adapter
from services.runtime.exchange import wanted
from services.runtime.exchange.wanted import Wish
from services.runtime.model import load_base, prepare
from services.stack import exporting
from services.stack.adopting import Pin, import_version
from services.stack.errors import StackError
from services.stack.exporting import export_version
from services.stack.home import Home
from services.stack.settings import StackSettings
from tests.fixtures.exchange import KEYS
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.stock import TEXT, logits
from tests.fixtures.tiny_adapters import write_adapter


@pytest.fixture
async def settings(hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    """Give the settings of a stack whose registry is the test's, with a model `bot`."""
    monkeypatch.setattr(Home, "ports", lambda _: {"registry": hub.port})
    await hub.model()
    return StackSettings(home=hub.settings.home)


async def bring_in(settings: StackSettings, folder: Path, **pin: Any) -> version_pb2.ModelVersion:
    return await asyncio.to_thread(import_version, settings, folder, "bot", Pin(**pin), print)


async def take_out(settings: StackSettings, target: Path, **wish: Any) -> dict[str, Any]:
    wanted = Wish(**{"form": "mlx", **wish})
    return await asyncio.to_thread(export_version, settings, "bot", "", target, wanted, print)


def left(settings: StackSettings) -> list[Path]:
    return list((settings.storage_active_path / "imports").glob("*"))


async def test_in_out_and_in_again(
    hub: RunningRegistry, settings: StackSettings, tiny_model: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", 1, 4, KEYS)
    with pytest.raises(StackError, match=f"--base-digest {hub.base_digest}; if not, --unpinned"):
        await bring_in(settings, adapter.path)
    first = await bring_in(settings, adapter.path, base_digest=hub.base_digest)
    assert (first.version, first.origin) == (1, version_pb2.VERSION_ORIGIN_IMPORTED)
    request = versions_pb.GetLineageRequest(model_id=first.model_id, version="1")
    origin = (await hub.stub.GetLineage(request)).imported
    assert (origin.source, origin.pin) == ("adapter", lineage_pb2.BASE_PIN_OPERATOR)
    assert origin.imported_by
    assert {file.name for file in origin.source_files} == {
        "adapter_config.json",
        "adapters.safetensors",
    }
    assert await bring_in(settings, adapter.path, unpinned=True) == first
    await take_out(settings, tmp_path / "peft", form="peft")
    back = await bring_in(settings, tmp_path / "peft")
    assert back == first, "the same weights for the same base are the same version"
    report = await take_out(settings, tmp_path / "fused")
    assert (report["version"], report["job_id"]) == (1, 0)
    assert report["parity"]["compared_on"] == "fixed prompts"
    stored = hub.archive / first.artifact_path
    np.testing.assert_allclose(
        logits(tmp_path / "fused"), logits(tiny_model, adapter.path), atol=1e-4
    )
    assert np.array_equal(logits(tiny_model, stored), logits(tiny_model, adapter.path))
    assert left(settings) == []
    served = await asyncio.to_thread(engine_logits, tiny_model, Adapter(first.checksum, stored))
    np.testing.assert_allclose(served, logits(tiny_model, adapter.path), atol=1e-4)


def engine_logits(base: Path, adapter: Adapter) -> Any:
    """Compute the logits of the fixed text as the engine does, the adapter in its slot."""
    prepare()
    # They import MLX, which has to be prepared first.
    import mlx.core as mx  # noqa: PLC0415

    from services.inference.engine.adapters.routing import RoutedModel  # noqa: PLC0415
    from services.inference.engine.adapters.slots import Adapters  # noqa: PLC0415

    model, tokenizer, _ = load_base(base)
    routed = RoutedModel(model)
    slot = Adapters(routed, 1, 10**6).acquire(adapter.digest, str(adapter.path))
    assert slot
    tokens = mx.array(tokenizer.encode(TEXT))[None]
    return np.array(routed(tokens, routed.row_cache(slot)))


async def test_an_unpinned_import_says_so(
    hub: RunningRegistry, settings: StackSettings, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", 2, 4, KEYS)
    await bring_in(settings, adapter.path, unpinned=True)
    request = versions_pb.GetLineageRequest(model_id=1, version="1")
    origin = (await hub.stub.GetLineage(request)).imported
    assert origin.pin == lineage_pb2.BASE_PIN_NONE


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        ({"base_digest": "A" * 64}, "not a SHA-256"),
        ({"base_digest": "0" * 64}, "over its own base"),
    ],
)
async def test_a_wrong_pin_is_refused_before_anything_is_read(
    settings: StackSettings, tmp_path: Path, pin: dict[str, str], why: str
) -> None:
    with pytest.raises(StackError, match=why):
        await bring_in(settings, tmp_path / "absent", **pin)


async def test_a_target_that_is_not_new_stays_as_it_is(
    settings: StackSettings, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for target, why in (("full", "not empty"), ("file", "not a folder"), ("no/where", "not exist")):
        with pytest.raises(StackError, match=why):
            await take_out(settings, tmp_path / target)
    with pytest.raises(StackError, match="no version yet"):
        await take_out(settings, tmp_path / "new")


async def test_a_failed_export_leaves_nothing(
    hub: RunningRegistry,
    settings: StackSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = write_adapter(tmp_path / "adapter", 1, 4, KEYS)
    await bring_in(settings, adapter.path, unpinned=True)
    room = tmp_path / "room"
    (room / "empty").mkdir(parents=True)
    with pytest.raises(StackError, match=r"would not be version 1: .* survives"):
        await take_out(settings, room / "empty", quantize=4, tolerance=0.01)
    full = _fails_with(errno.ENOSPC)
    for module, name in ((wanted, "sync_path"), (exporting, "run_child")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises((OSError, StackError), match="No space left"):
                await take_out(settings, room / "empty")
    usage = shutil.disk_usage(room)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StackError, match=r"may take .* MiB, and 1 MiB are free"):
        await take_out(settings, room / "empty")
    assert [entry.name for entry in room.iterdir()] == ["empty"]
    assert not list((room / "empty").iterdir())


async def test_without_a_running_hub_both_say_so(tmp_path: Path) -> None:
    settings = StackSettings(home=tmp_path)
    for call in (
        lambda: export_version(settings, "bot", "1", tmp_path / "x", Wish("mlx"), print),
        lambda: import_version(settings, tmp_path, "bot", Pin(), print),
    ):
        with pytest.raises(StackError, match=r"No hub runs on .*mlx-hub up"):
            call()


def _fails_with(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, "No space left on device")

    return fail
