"""What training is forecast to take, what lowers it, and what is said when it is too much."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, TokenCounts

from services.chassis.errors import Exhausted
from services.chassis.leases import Room
from services.runtime.shape import Shape, Weight, read_shape, read_weights
from services.trainer.forecast import Base, Batch, Forecast, advise, forecast
from services.trainer.plan import Plan
from services.trainer.planner import batch_of
from services.trainer.recipe import DEFAULTS, Recipe

MIB = 2**20
BATCH = Batch(rows=4, tokens=128, trained=4 * 128)
# Peaks of the worker on the 135M starter model as dense bfloat16, in MiB (bench/memory.py).
MEASURED: dict[str, tuple[dict[str, Any], Batch, int]] = {
    "lora": ({}, Batch(4, 64, 88), 1128),
    "long rows": ({}, Batch(4, 128, 508), 1752),
    "masked": ({}, Batch(4, 233, 20), 2262),
    "masked, longer": ({}, Batch(4, 489, 20), 4550),
    "masked, checkpointed": ({"grad_checkpoint": True}, Batch(4, 233, 20), 945),
    "dora, 4 bits": ({"method": "dora", "quantize_bits": 4}, Batch(4, 64, 88), 1315),
    "4 bits": ({"quantize_bits": 4}, Batch(4, 64, 88), 754),
    "8 bits": ({"quantize_bits": 8}, Batch(4, 64, 88), 842),
    "4 bits, masked": ({"quantize_bits": 4}, Batch(4, 233, 20), 1866),
    "dora": ({"method": "dora"}, Batch(4, 64, 88), 1283),
    "dora, masked": ({"method": "dora"}, Batch(4, 233, 20), 2814),
    "full, adamw": ({"method": "full"}, Batch(4, 64, 88), 2006),
    "full, sgd": ({"method": "full", "optimizer": "sgd"}, Batch(4, 64, 88), 1608),
    "full, adafactor": ({"method": "full", "optimizer": "adafactor"}, Batch(4, 64, 88), 1213),
    "full, lion, clipped": (
        {"method": "full", "optimizer": "lion", "grad_clip": 1.0}, Batch(4, 64, 88), 2341,
    ),
    "full, accumulated, clipped": (
        {"method": "full", "grad_accumulation": 2, "grad_clip": 1.0}, Batch(4, 64, 88), 2402,
    ),
    "rank 64, dropout": ({"lora_rank": 64, "lora_dropout": 0.1}, Batch(4, 64, 88), 1529),
    "two keys": ({"target_keys": ["q_proj", "v_proj"]}, Batch(4, 233, 20), 1927),
}  # fmt: skip


def smol() -> Base:
    """Give the starter model's shapes."""
    shape = Shape(30, 9, 3, 64, hidden=576, inner=1536, vocabulary=49152)
    square = {"q_proj": (576, 576), "k_proj": (192, 576), "v_proj": (192, 576)}
    inner = {"gate_proj": (1536, 576), "up_proj": (1536, 576), "down_proj": (576, 1536)}
    names: dict[str, tuple[int, ...]] = {f"mlp.{name}": size for name, size in inner.items()}
    names |= {f"self_attn.{n}": size for n, size in (square | {"o_proj": (576, 576)}).items()}
    names |= {"input_layernorm": (576,), "post_attention_layernorm": (576,)}
    weights: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (49152, 576),
        "model.norm.weight": (576,),
    }
    for n in range(shape.layers):
        weights |= {f"model.layers.{n}.{name}.weight": size for name, size in names.items()}
    return Base(shape, [Weight(name, size, 2 * _product(size)) for name, size in weights.items()])


def _product(size: tuple[int, ...]) -> int:
    return size[0] * (size[1] if len(size) > 1 else 1)


def total(recipe: Recipe = DEFAULTS, batch: Batch = BATCH) -> int:
    return forecast(smol(), recipe, batch, dense=True).total_bytes


@pytest.mark.parametrize("name", MEASURED)
def test_forecasts_lie_above_the_measured_peak_and_not_far(name: str) -> None:
    fields, batch, peak = MEASURED[name]
    assert peak < total(Recipe(**fields), batch) / MIB <= 1.5 * peak


@pytest.mark.parametrize(
    "smaller",
    [
        {"grad_checkpoint": True},
        {"quantize_bits": 8},
        {"lora_rank": 1},
        {"lora_layers": 4},
        {"target_keys": ["q_proj"]},
        {"optimizer": "sgd"},
    ],
)
def test_what_is_left_out_is_not_counted(smaller: dict[str, Any]) -> None:
    assert total(Recipe(**smaller)) < total()


@pytest.mark.parametrize(
    "larger", [{"lora_dropout": 0.1}, {"grad_clip": 1.0}, {"method": "dora"}, {"method": "full"}]
)
def test_what_is_added_is_counted(larger: dict[str, Any]) -> None:
    assert total(Recipe(**larger)) > total()


def test_it_grows_with_rows_and_faster_with_their_length() -> None:
    rows = [total(batch=Batch(n, 128, n * 128)) for n in (1, 2, 4, 8)]
    lengths = [total(batch=Batch(4, n, 4 * n)) for n in (128, 256, 512)]
    assert rows == sorted(set(rows))
    first, second = (after - before for before, after in pairwise(lengths))
    assert second > 2 * first


def test_half_precision_takes_half_of_the_weights() -> None:
    parts = [forecast(smol(), Recipe(), BATCH, dense=dense) for dense in (True, False)]
    adapter = parts[1].weight_bytes - 134_515_008 * 2
    assert 0 < adapter == parts[0].weight_bytes - 134_515_008 * 4


def test_the_tiny_model_is_read_from_its_headers(tiny_model: Path) -> None:
    base = Base(read_shape(tiny_model), read_weights(tiny_model))
    assert not base.packed
    assert sum(w.stored_bytes for w in base.weights) == 4 * sum(w.values for w in base.weights)
    assert {weight.layer for weight in base.weights} == {None, 0, 1}
    assert "self_attn.q_proj" in {weight.path for weight in base.weights}
    # Outputs and inputs of q and o, k and v, and three of the MLP.
    sides = 2 * (64 + 64) + 2 * (32 + 64) + 3 * (128 + 64)
    found = forecast(base, Recipe(), BATCH, dense=True)
    dense = 4 * sum(weight.values for weight in base.weights)
    assert found.weight_bytes - dense == 4 * 8 * base.shape.layers * sides


def test_advice_is_what_helps_the_most_useful_first() -> None:
    found = advise(smol(), Recipe(), BATCH, dense=True)
    assert {a.field for a in found} == {
        "batch_size", "max_seq_length", "grad_checkpoint", "quantize_bits",
    }  # fmt: skip
    needs = [advice.total_bytes for advice in found]
    assert needs == sorted(needs)
    assert needs[-1] < total()
    halved = next(advice for advice in found if advice.field == "batch_size")
    assert halved.value == 2
    assert halved.total_bytes == total(Recipe(batch_size=2), Batch(2, 128, 256))


def test_nothing_is_advised_that_the_recipe_has_or_can_not_have() -> None:
    recipe = Recipe(batch_size=1, grad_checkpoint=True, method="full", max_seq_length=32)  # type: ignore[arg-type]
    assert advise(smol(), recipe, Batch(1, 32, 32), dense=True) == []


def test_the_largest_batch_is_the_datas_own() -> None:
    recipe = Recipe(batch_size=8, max_seq_length=512)
    tokens = TokenCounts(max=100, max_trained=20)
    report = DatasetReport(train_rows=6, valid_rows=1, tokens=tokens)
    assert batch_of(recipe, report) == Batch(6, 100, 6 * 20)
    report.tokens.max = 2000
    report.train_rows = 60
    assert batch_of(recipe, report) == Batch(8, 512, 8 * 20)
    report.tokens.max_trained = 0  # of an earlier release
    assert batch_of(recipe, report) == Batch.most(recipe)


def planned(need: int, free: int, least: int | None = None) -> Plan:
    parts = Forecast(0, 0, 0, need, rows=1, tokens=1)
    return Plan(parts, need if least is None else least, [], Room(100, 100 - free, free))


def test_a_plan_fits_now_later_or_never() -> None:
    assert (planned(40, free=40).fits_now, planned(41, free=40).fits_now) == (True, False)
    planned(100, free=0).check()
    with pytest.raises(Exhausted) as caught:
        planned(101, free=100).check()
    numbers = {"needed_bytes": "101", "free_bytes": "100", "budget_bytes": "100"}
    assert caught.value.metadata == numbers
    assert "use a smaller base model" in caught.value.message


def test_data_that_nobody_could_look_at_refuse_no_job_that_may_fit() -> None:
    unknown = planned(1000, free=100, least=60)
    unknown.check()
    assert (unknown.fits_ever, unknown.leased) == (True, 100)
    with pytest.raises(Exhausted):
        replace(unknown, least=101).check()
