"""Adapters that go wrong or wait: what they do to the engine and to others, which is nothing."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from services.inference.domain import Adapter
from services.inference.engine.adapters.files import read_adapter, size_of
from tests.fixtures.tiny_adapters import write_adapter
from tests.integration.test_inference_adapters import PROMPT, changed, refusal
from tests.integration.test_inference_batch import Bench


@pytest.fixture
def bench(tiny_model: Path) -> Bench:
    return Bench(tiny_model)


def test_no_name_of_an_adapter_ends_the_engine_and_none_is_another_layers(
    bench: Bench, adapters: list[Adapter]
) -> None:
    expected = bench.alone(PROMPT, adapters[0])
    installed = "model.layers.1.mlp.down_proj"
    weights = load_file(adapters[0].path / "adapters.safetensors")
    a, b = (weights[f"{installed}.{part}"] for part in ("lora_a", "lora_b"))
    names = (
        "model.layers.²", "model.layers.01.mlp.down_proj", "model.layers.-1.mlp.down_proj",
        "model.layers.9", "model.norm.weight.x", f"{installed}.base", "lm_head", "", ".",
    )  # fmt: skip
    other = write_adapter(adapters[0].path.parent / "other", 9, 4, ("mlp.down_proj",))
    for name in names:
        asked = changed(other, **{f"{name}.lora_a": a, f"{name}.lora_b": b})
        assert f"the base model has no layer {name}" in refusal(bench, asked)
    assert bench.alone(PROMPT, adapters[0]) == expected


def test_what_nobody_foresaw_of_an_adapter_fails_its_own_request_alone(
    bench: Bench, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = bench.alone(PROMPT)

    def broken(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(bench.adapters, "_pair", broken)
    bench.add(1, PROMPT)
    bench.add(2, PROMPT, adapters[0])
    assert bench.finish() == {1: good}
    assert bench.failures() == [2]
    assert not bench.adapters.resident(adapters[0].digest)


def test_one_that_waits_for_room_is_read_only_when_there_is_some(
    bench: Bench, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.inference.engine.adapters import slots  # noqa: PLC0415

    read: list[str] = []

    def counted(path: Path, digest: str, max_bytes: int) -> Any:
        read.append(digest)
        assert not bench.adapters._users[adapters[0].digest]
        return read_adapter(path, digest, max_bytes)

    wanted = bench.alone(PROMPT, adapters[1])
    assert bench.alone(PROMPT, adapters[0])
    bench.adapters.max_bytes = max(size_of(adapter.path) for adapter in adapters[:2])
    bench.add(1, PROMPT, adapters[0])
    bench.batch.step()
    bench.adapters._evict(adapters[1].digest)
    monkeypatch.setattr(slots, "read_adapter", counted)
    bench.outcomes.clear()
    bench.add(2, PROMPT, adapters[1])
    assert bench.finish()[2] == wanted
    assert read == [adapters[1].digest]
