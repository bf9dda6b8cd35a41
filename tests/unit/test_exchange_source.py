"""Adapters from elsewhere: refused by name before anything is mapped, patterns honoured."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from services.runtime.exchange.layout import (
    AdapterError,
    check_fit,
    layer_shapes,
    place,
)
from services.runtime.exchange.peft import PIN, compose_config
from services.runtime.exchange.source import Source, read_source
from tests.fixtures.exchange import KEYS, change_config
from tests.fixtures.tiny_adapters import SIZES, write_adapter

CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1,
    "target_modules": ["q_proj", "down_proj"], "bias": "none", "base_model_name_or_path": "org/x",
    "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "loftq_config": {},
    "init_lora_weights": True, "inference_mode": True, "fan_in_fan_out": False, "revision": None,
}  # fmt: skip
LAYERS = [f"model.layers.{n}.{key}" for n in range(2) for key in KEYS]


def arrays(ranks: dict[str, int] | None = None, dtype: Any = np.float32) -> dict[str, Any]:
    random, found = np.random.default_rng(3), {}
    for layer in LAYERS:
        inputs, outputs = SIZES[layer.split(".", 3)[3]]
        rank = (ranks or {}).get(layer, 4)
        for part, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            name = f"base_model.model.{layer}.lora_{part}.weight"
            found[name] = (random.standard_normal(shape) * 0.2).astype(dtype)
    return found


def write(folder: Path, weights: dict[str, Any] | None = None, **fields: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(weights or arrays(), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **fields}))
    return folder


def fit(source: Source, base: Path) -> None:
    check_fit(source.pairs, source.tensors, layer_shapes(base))


def test_a_peft_adapter_is_understood(tmp_path: Path, tiny_model: Path) -> None:
    source = read_source(write(tmp_path / "a"))
    assert (source.format, source.method, source.dropout) == ("peft", "lora", 0.1)
    assert (source.pinned, source.stated_base) == ("", "org/x")
    assert set(source.pairs) == set(LAYERS)
    assert {(pair.rank, pair.scale, pair.turned) for pair in source.pairs.values()} == {
        (4, 2, True)
    }
    fit(source, tiny_model)


def test_an_mlx_adapter_is_understood(tmp_path: Path, tiny_model: Path) -> None:
    write_adapter(tmp_path / "a", 1, 4, KEYS)
    change_config(tmp_path / "a", base_digest="a" * 64, model="/home/someone/models/tiny")
    source = read_source(tmp_path / "a")
    assert (source.format, source.pinned, source.stated_base) == ("mlx", "a" * 64, "tiny")
    assert {(pair.rank, pair.scale, pair.turned) for pair in source.pairs.values()} == {
        (4, 2, False)
    }
    fit(source, tiny_model)


def test_patterns_and_rank_stabilised_scales_are_honoured(tmp_path: Path) -> None:
    ranks = {name: 2 for name in LAYERS if name.endswith("q_proj")}
    patterns = {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"^model.layers.1.mlp.down_proj": 6},
    }
    source = read_source(write(tmp_path / "a", arrays(ranks), **patterns))
    assert [(source.pairs[n].rank, source.pairs[n].scale) for n in LAYERS] == [
        (2, 4), (4, 2), (2, 4), (4, 1.5),
    ]  # fmt: skip
    source = read_source(write(tmp_path / "a", arrays(ranks), **patterns, use_rslora=True))
    assert source.pairs[LAYERS[0]].scale == 8 / math.sqrt(2)
    assert source.pairs[LAYERS[3]].scale == 3


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'; only 'LORA'"),
        ({"peft_type": None}, "peft_type None"),
        ({"bias": "lora_only"}, "bias 'lora_only'; only 'none'"),
        ({"task_type": "SEQ_CLS"}, "task_type 'SEQ_CLS'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save \['lm_head'\], which .* not honour"),
        ({"lora_bias": True}, "lora_bias True"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"something_new": 1}, "something_new 1"),
        ({"rank_pattern": {"q_.*": 2}}, "only plain names"),
        ({"rank_pattern": [1]}, "rank_pattern is not a map"),
        ({"r": 0}, "rank 0 is not from 1"),
        ({"r": True}, "rank True"),
        ({"lora_alpha": "8"}, "lora_alpha '8' is not a number"),
        ({"lora_dropout": 1}, "lora_dropout"),
        ({"use_dora": True}, "has no lora_magnitude_vector"),
        ({"target_modules": ["q_proj"]}, "not among target_modules"),
        ({"target_modules": ["q_proj", "down_proj", "v_proj"]}, "names 'v_proj', of which there"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(AdapterError, match=why):
        read_source(write(tmp_path / "a", **fields))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "why"),
    [
        (
            "base_model.model.model.embed_tokens.lora_embedding_A",
            (4, 259),
            "f4",
            "no lora_embedding_B",
        ),
        (f"base_model.model.{LAYERS[0]}.lora_embedding_A", (4, 64), "f4", "lora_embedding_A as"),
        (f"base_model.model.{LAYERS[0]}.base_layer.weight", (64, 64), "f4", "no part of a LoRA"),
        ("model.layers.0.self_attn.v_proj.lora_A.weight", (4, 64), "f4", "no part of a LoRA"),
        ("base_model.model.lm_head.weight", (259, 64), "f4", "no part of a LoRA"),
        (
            "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight",
            (4, 64),
            "f4",
            "no lora_B",
        ),
        ("base_model.model.x.lora_A.weight", (4, 64), "i4", "type I32, not a float's"),
    ],
)
def test_odd_tensors_are_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str, why: str
) -> None:
    with pytest.raises(AdapterError, match=why):
        read_source(write(tmp_path / "a", {**arrays(), name: np.zeros(shape, dtype)}))


@pytest.mark.parametrize(
    ("old", "new", "shape", "why"),
    [
        (
            "layers.0.self_attn.q_proj",
            "layers.9.self_attn.q_proj",
            None,
            "no layer 'model.layers.9",
        ),
        (
            "self_attn.q_proj",
            "self_attn.c_proj",
            None,
            "no layer 'model.layers.0.self_attn.c",
        ),
        ("", "", (4, 65), r"has shape \[4, 65\], and for rank 4 .* needs \[4, 64\]"),
        ("", "", (5, 64), r"has shape \[5, 64\]"),
    ],
)
def test_adapters_of_other_models_are_refused(
    tmp_path: Path, tiny_model: Path, old: str, new: str, shape: tuple[int, int] | None, why: str
) -> None:
    weights = {name.replace(old, new) if old else name: a for name, a in arrays().items()}
    if shape:
        weights[f"base_model.model.{LAYERS[0]}.lora_A.weight"] = np.zeros(shape, np.float32)
    source = read_source(write(tmp_path / "a", weights, target_modules=None))
    with pytest.raises(AdapterError, match=why):
        fit(source, tiny_model)


@pytest.mark.parametrize("name", ["training_args.bin", "adapter_model.bin", "run.py", "x.pt"])
def test_code_and_archives_beside_an_adapter_are_refused(tmp_path: Path, name: str) -> None:
    (write(tmp_path / "a") / name).write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match="does not belong in an adapter's folder"):
        read_source(tmp_path / "a")


def test_a_folder_of_neither_or_both_forms_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / "adapters.safetensors").write_bytes(
        (folder / "adapter_model.safetensors").read_bytes()
    )
    (tmp_path / "empty").mkdir()
    for odd in (folder, tmp_path / "empty"):
        with pytest.raises(AdapterError, match=r"one of adapter_model\.safetensors"):
            read_source(odd)
    with pytest.raises(AdapterError, match="not a folder"):
        read_source(tmp_path / "absent")


@pytest.mark.parametrize("at", [0, 3, 9, 40, -1])
def test_damaged_weights_are_refused(tmp_path: Path, at: int) -> None:
    file = write(tmp_path / "a") / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    if at == -1:
        content.pop()
    else:
        content[at] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(AdapterError):
        read_source(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN', "[" * 100_000])
def test_damaged_configurations_are_refused(tmp_path: Path, text: str) -> None:
    (write(tmp_path / "a") / "adapter_config.json").write_text(text)
    with pytest.raises(AdapterError, match=r"adapter_config\.json is not"):
        read_source(tmp_path / "a")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"fine_tune_type": "full"}, "only lora and dora are adapters"),
        ({"fine_tune_type": "dora"}, "has no m"),
        ({"lora_parameters": None}, "no lora_parameters"),
        ({"lora_parameters": {"rank": 4, "alpha": 8}}, "no lora_parameters"),
        ({"lora_parameters": {"rank": 4, "scale": 1, "dropout": "x"}}, "no lora_parameters"),
        ({"base_digest": "abc"}, "no SHA-256"),
        ({"base_digest": 3}, "no SHA-256"),
    ],
)
def test_mlx_adapters_are_checked_too(tmp_path: Path, fields: dict[str, Any], why: str) -> None:
    write_adapter(tmp_path / "a", 1, 4, KEYS)
    change_config(tmp_path / "a", **fields)
    with pytest.raises(AdapterError, match=why):
        read_source(tmp_path / "a")


def test_a_pin_stands_in_the_weights_own_metadata(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    save_file(arrays(), folder / "adapter_model.safetensors", metadata={PIN: "b" * 64})
    assert read_source(folder).pinned == "b" * 64


def test_targets_are_short_where_they_name_no_other_layer(tmp_path: Path, tiny_model: Path) -> None:
    pairs = read_source(write(tmp_path / "a")).pairs
    linears = layer_shapes(tiny_model)
    assert compose_config(pairs, linears, "lora", 0)["target_modules"] == ["down_proj", "q_proj"]
    some = {name: pair for name, pair in pairs.items() if ".layers.1." in name}
    assert compose_config(some, linears, "lora", 0)["target_modules"] == sorted(some)


def test_only_what_lies_in_a_block_has_a_place() -> None:
    assert place("model.layers.12.self_attn.q_proj") == (12, "self_attn.q_proj")
    assert place("layers.0.mlp") == (0, "mlp")
    assert place("model.embed_tokens") is None
    assert place("model.layers.x.mlp") is None
