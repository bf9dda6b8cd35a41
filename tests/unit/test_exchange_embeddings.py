"""Adapters of embeddings in PEFT's form: honoured where it means the same in mlx-lm's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.runtime.exchange.layout import AdapterError, check_lookup, layer_shapes
from services.runtime.exchange.source import read_source
from tests.unit.test_exchange_source import LAYERS, arrays, fit, write

NAME = "model.embed_tokens"
PREFIX = f"base_model.model.{NAME}.lora_"
TARGETS: dict[str, Any] = {"target_modules": ["q_proj", "down_proj", "embed_tokens"]}


def embedded(rank: int = 4) -> dict[str, Any]:
    shapes = {"embedding_A": (rank, 259), "embedding_B": (64, rank)}
    return {**arrays(), **{PREFIX + part: np.ones(s, np.float32) for part, s in shapes.items()}}


def test_one_is_understood_beside_linear_layers(tmp_path: Path, tiny_model: Path) -> None:
    source = read_source(write(tmp_path / "a", embedded(), **TARGETS))
    pair = source.pairs[NAME]
    assert (pair.rank, pair.scale, pair.looked_up, pair.turned) == (4, 2, True, True)
    assert not source.pairs[LAYERS[0]].looked_up
    fit(source, tiny_model)
    wide = read_source(write(tmp_path / "a", embedded(5), **TARGETS))
    with pytest.raises(AdapterError, match=r"embedding_A' has shape \[5, 259\].* needs \[4, 259\]"):
        fit(wide, tiny_model)


def test_what_the_two_forms_mean_differently_is_refused(tiny_model: Path) -> None:
    tied = layer_shapes(tiny_model)
    untied = {**tied, "lm_head": (259, 64)}
    check_lookup([], tied, dora=True)
    check_lookup([NAME], untied, dora=False)
    with pytest.raises(AdapterError, match=f"{NAME}' is its head as well"):
        check_lookup([NAME], tied, dora=False)
    with pytest.raises(AdapterError, match="magnitude of each token in mlx-lm"):
        check_lookup([NAME], untied, dora=True)


def test_an_embedding_has_names_of_its_own(tmp_path: Path) -> None:
    linear = {name.replace(LAYERS[0], NAME): array for name, array in arrays().items()}
    with pytest.raises(AdapterError, match=f"'{NAME}' has no lora_embedding_A"):
        read_source(write(tmp_path / "a", linear))
    both = {**embedded(), f"{PREFIX}A.weight": np.ones((4, 64), np.float32)}
    with pytest.raises(AdapterError, match=rf"'{NAME}' has lora_A\.weight as well"):
        read_source(write(tmp_path / "a", both, **TARGETS))
