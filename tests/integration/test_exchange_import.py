"""Adapters brought in: the same logits as PEFT's formula, pinned, or refused with nothing left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.inference.domain import Adapter
from tests.fixtures.exchange import KEYS, Arrays, Exchange, change_config, dora_adapter
from tests.fixtures.stock import logits
from tests.fixtures.tiny_adapters import checksum, write_adapter
from tests.unit.test_exchange_source import LAYERS, arrays, write


def merged(base: Path, source: Path, target: Path) -> Path:
    """Merge a PEFT adapter by its documented formula, in float64 and without MLX."""
    config = json.loads((source / "adapter_config.json").read_text())
    pairs: Arrays = load_file(source / "adapter_model.safetensors")
    weights: Arrays = load_file(base / "model.safetensors")
    for layer in {name.partition(".lora_")[0] for name in pairs}:
        module = layer.removeprefix("base_model.model.")
        a, b = (pairs[f"{layer}.lora_{part}.weight"].astype(np.float64) for part in "AB")
        last, whole = module.rpartition(".")[2], f"^{module}"
        alphas, ranks = config["alpha_pattern"], config["rank_pattern"]
        rank = ranks.get(last, ranks.get(whole, config["r"]))
        alpha = alphas.get(last, alphas.get(whole, config["lora_alpha"]))
        scale = alpha / (np.sqrt(rank) if config.get("use_rslora") else rank)
        whole_weight = weights[f"{module}.weight"] + scale * (b @ a)
        if config.get("use_dora"):
            magnitude = pairs[f"{layer}.lora_magnitude_vector"]
            whole_weight *= (magnitude / np.linalg.norm(whole_weight, axis=1))[:, None]
        weights[f"{module}.weight"] = whole_weight.astype(np.float32)
    target.mkdir()
    for file in base.iterdir():
        if file.suffix == ".json":
            (target / file.name).write_bytes(file.read_bytes())
    save_file(weights, target / "model.safetensors", metadata={"format": "mlx"})
    return target


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_out_to_peft_and_back_is_the_same_adapter(
    exchange: Exchange, tmp_path: Path, method: str
) -> None:
    folder = tmp_path / "adapter"
    if method == "dora":
        adapter = dora_adapter(folder, exchange.base)
    else:
        adapter = write_adapter(folder, 1, 4, KEYS)
    out = exchange.export("peft", "out", adapter)
    assert out.code == 0, out.complaint
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (4, 8, method == "dora")
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", "c0ffee")
    mine = logits(exchange.base, adapter.path)
    by_formula = logits(merged(exchange.base, tmp_path / "out", tmp_path / "merged"))
    np.testing.assert_allclose(by_formula, mine, atol=1e-4)
    back = exchange.bring_in(tmp_path / "out")
    assert back.code == 0, back.complaint
    assert (back.told["format"], back.told["pinned"]) == ("peft", True)
    assert np.array_equal(logits(exchange.base, tmp_path / "in"), mine)
    before = load_file(adapter.path / "adapters.safetensors")
    after = load_file(tmp_path / "in" / "adapters.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("rslora", [False, True])
def test_ranks_and_scales_of_single_layers_are_honoured(
    exchange: Exchange, tmp_path: Path, rslora: bool
) -> None:
    ranks = {name: 2 for name in LAYERS if name.endswith("q_proj")}
    fields: dict[str, Any] = {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {f"^{LAYERS[3]}": 6},
        "use_rslora": rslora,
    }
    source = write(tmp_path / "source", arrays(ranks), **fields)
    done = exchange.bring_in(source)
    assert done.code == 0, done.complaint
    assert not done.told["pinned"]
    by_formula = logits(merged(exchange.base, source, tmp_path / "merged"))
    found = logits(exchange.base, tmp_path / "in")
    np.testing.assert_allclose(found, by_formula, atol=2e-4)
    assert np.abs(found - logits(exchange.base)).max() > 0.1


def test_an_adapter_of_some_blocks_and_small_floats_comes_in(
    exchange: Exchange, tmp_path: Path
) -> None:
    half = {n: a for n, a in arrays(dtype=np.float16).items() if ".layers.1." in n}
    source = write(tmp_path / "source", half)
    assert exchange.bring_in(source).code == 0
    config = json.loads((tmp_path / "in" / "adapter_config.json").read_text())
    assert (config["num_layers"], config["base_digest"]) == (1, exchange.digest)
    by_formula = logits(merged(exchange.base, source, tmp_path / "merged"))
    np.testing.assert_allclose(logits(exchange.base, tmp_path / "in"), by_formula, atol=1e-4)


def test_an_mlx_adapter_keeps_its_weights_and_loses_the_rest(
    exchange: Exchange, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", 1, 4, KEYS)
    change_config(adapter.path, adapter_path="/home/someone/adapters", num_layers=-1)
    done = exchange.bring_in(adapter.path)
    assert done.code == 0, done.complaint
    assert "someone" not in (tmp_path / "in" / "adapter_config.json").read_text()
    assert np.array_equal(
        logits(exchange.base, tmp_path / "in"), logits(exchange.base, adapter.path)
    )
    again = exchange.bring_in(adapter.path, "again")
    assert again.told["files"] == done.told["files"], "the same adapter gives the same bytes"


def test_one_pinned_to_another_base_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", 1, 4, KEYS)
    elsewhere = replace(exchange, digest="0" * 64)
    change_config(adapter.path, base_digest=exchange.digest)
    assert exchange.bring_in(Adapter(checksum(adapter.path), adapter.path).path).code == 0
    done = elsewhere.bring_in(adapter.path, "other")
    assert done.code == 2
    assert "trained on a base model of digest" in done.complaint
    assert not (tmp_path / "other").exists()


def test_weights_that_are_not_finite_are_refused(exchange: Exchange, tmp_path: Path) -> None:
    weights = arrays()
    weights[f"base_model.model.{LAYERS[0]}.lora_B.weight"][0, 0] = np.nan
    done = exchange.bring_in(write(tmp_path / "source", weights))
    assert done.code == 2
    assert f"the weights of '{LAYERS[0]}.lora_b' are not finite" in done.complaint
