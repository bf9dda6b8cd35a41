"""Adapters of every kind in one batch, in this process, with mlx-lm's own layers as the measure."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.chassis.errors import FailedPrecondition
from services.inference.domain import Adapter
from services.inference.engine.events import Ended
from services.runtime.folder import inspect_model_folder
from services.runtime.model import load_base, prepare
from tests.fixtures.exchange import dora_adapter
from tests.fixtures.tiny_adapters import checksum, write_adapter
from tests.integration.test_inference_batch import BASE, Bench
from tests.unit.test_exchange_source import LAYERS, arrays, write

PROMPT = "as it should be"


@pytest.fixture
def bench(tiny_model: Path) -> Bench:
    return Bench(tiny_model)


@pytest.fixture
def dora(tmp_path: Path, tiny_model: Path) -> Adapter:
    return dora_adapter(tmp_path / "dora", tiny_model)


def stock(base: Path, adapter: Adapter, prompt: str = PROMPT) -> list[int]:
    """Give the twelve greedy tokens of mlx-lm alone, or those up to the end of the text."""
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.generate import generate_step  # noqa: PLC0415
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415

    model, tokenizer, _ = load_base(base)
    if adapter.digest:
        model = load_adapters(model, str(adapter.path))
        model.eval()
    tokens = mx.array(tokenizer.encode(prompt, add_special_tokens=False))
    found = [int(token) for token, _ in generate_step(tokens, model, max_tokens=12)]
    return found[: found.index(2) + 1] if 2 in found else found


def mixed(bench: Bench, *adapters: Adapter) -> list[list[int]]:
    """Give each one's tokens for the same prompt, all in one batch."""
    bench.outcomes.clear()
    for number, adapter in enumerate(adapters):
        bench.add(number, PROMPT, adapter)
    tokens = bench.finish()
    return [tokens[number] for number in range(len(adapters))]


def test_dora_rows_answer_as_mlx_lm_does_beside_plain_ones_and_the_base(
    bench: Bench, tiny_model: Path, adapters: list[Adapter], dora: Adapter
) -> None:
    rows = (dora, adapters[0], BASE, dora)
    expected = [stock(tiny_model, adapter) for adapter in rows]
    assert len({tuple(tokens) for tokens in expected}) == 3, "the adapters change nothing"
    assert bench.alone(PROMPT, dora) == expected[0]
    assert mixed(bench, *rows) == expected


@pytest.mark.parametrize("bits", [0, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_a_dora_layer_is_mlx_lms_with_a_bias_and_quantised_too(bits: int, bias: bool) -> None:
    prepare()
    import mlx.core as mx  # noqa: PLC0415
    from mlx.nn.layers.linear import Linear  # noqa: PLC0415
    from mlx_lm.tuner.dora import DoRALinear  # noqa: PLC0415

    from services.inference.engine.adapters.dora import Norms  # noqa: PLC0415
    from services.inference.engine.adapters.kinds import AdaptedLinear  # noqa: PLC0415
    from services.inference.engine.adapters.pairs import Pair  # noqa: PLC0415
    from services.inference.engine.adapters.routing import Router  # noqa: PLC0415

    mx.random.seed(3)
    linear: Any = Linear(64, 96, bias=bias)
    linear = linear.to_quantized(group_size=32, bits=bits) if bits else linear
    theirs: Any = DoRALinear.from_base(linear, r=4, scale=3.0)
    theirs.lora_b = mx.random.normal((4, 96)) * 0.2
    theirs.m = theirs.m * mx.random.uniform(0.5, 1.5, (96,))
    a, b = theirs.lora_a, theirs.lora_b * 3.0
    router = Router()
    layer = AdaptedLinear(linear, router)
    layer.put(1, Pair(a, b, *Norms().gain("x", linear, a, b, theirs.m)))
    layer.put(2, Pair(-a, b))
    x = mx.random.normal((4, 5, 64))
    plain = np.array(linear(x))
    lora = np.array(linear(x) - (x @ a) @ b)
    for rows in ([1, 1, 1, 1], [0, 1, 2, 1]):
        router.route(rows)
        y = np.array(layer(x))
        wanted = {0: plain, 1: np.array(theirs(x)), 2: lora}
        for row, slot in enumerate(rows):
            np.testing.assert_allclose(y[row], wanted[slot][row], atol=2e-5)
    assert np.abs(plain - np.array(theirs(x))).max() > 0.1


def test_base_rows_keep_their_bits_whatever_is_beside_them(
    bench: Bench, adapters: list[Adapter], dora: Adapter
) -> None:
    import mlx.core as mx  # noqa: PLC0415

    from services.inference.engine.adapters.tag import RowTag  # noqa: PLC0415

    routed, slots = bench.batch._model, list[int]()
    for adapter in (adapters[0], dora):
        slots.append(bench.adapters.acquire(adapter.digest, str(adapter.path)) or 0)

    def logits(rows: list[int]) -> Any:
        cache = [*routed.row_cache(0)[:-1], RowTag(rows)]
        return np.array(routed(mx.array([[5, 9, 70]] * len(rows)), cache=cache))

    one, two = slots
    bare, lora, dora_too = logits([0, 0, 0]), logits([0, one, 0]), logits([0, one, two])
    assert np.array_equal(bare[[0, 2]], lora[[0, 2]])
    assert np.array_equal(bare[0], dora_too[0])
    # A sum over more columns, of which the others are zero, rounds in another way.
    np.testing.assert_allclose(lora[1], dora_too[1], atol=2e-5)
    assert not np.allclose(bare[1], lora[1], atol=1e-2)
    assert not np.allclose(bare[2], dora_too[2], atol=1e-2)


def test_no_row_loses_its_adapter_when_others_leave() -> None:
    prepare()
    from services.inference.engine.adapters.routing import Router  # noqa: PLC0415

    router, laid = Router(), []
    for rows, left in (
        ([0, 1, 2, 3], {1, 2}),
        ([0, 1, 2], {1}),
        ([0, 1, 2], {1, 2}),
        ([2, 2], {2}),
    ):
        router.route(rows)
        router.keep(left)
        laid.append(router.mixed)
    assert laid == [(1, 2, 3), (1,), (1, 2), (1, 2)]
    assert router.only == 2


def test_imported_peft_adapters_mix_with_native_ones(
    bench: Bench, tiny_model: Path, tmp_path: Path, adapters: list[Adapter]
) -> None:
    """Of other ranks, scales and layers: a rank and an alpha of single layers, and rsLoRA."""
    from services.runtime.exchange.bring_in import bring_in  # noqa: PLC0415

    ranks = {name: 2 for name in LAYERS if name.endswith("q_proj")}
    fields: dict[str, Any] = {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {f"^{LAYERS[3]}": 6},
        "use_rslora": True,
    }
    last = {n: a for n, a in arrays().items() if ".layers.1." in n}
    sources = (
        write(tmp_path / "patterns", arrays(ranks), **fields),
        write(tmp_path / "last", last),
    )
    digest = inspect_model_folder(tiny_model).digest
    imported = []
    for source in sources:
        folder = tmp_path / f"{source.name}.mlx"
        bring_in(source, tiny_model, digest, folder, lambda step: None)
        imported.append(Adapter(checksum(folder), folder))
    bench.batch._limits = replace(bench.batch._limits, rows=6)
    bench.adapters._limit = 5
    rows = (imported[0], adapters[0], BASE, imported[1])
    expected = [stock(tiny_model, adapter) for adapter in rows]
    assert len({tuple(tokens) for tokens in expected}) == 4
    assert mixed(bench, *rows) == expected


def held(bench: Bench) -> int:
    """Count the bytes in the layers' slots, those laid side by side too."""
    layers = bench.adapters._layers.values()
    laid = [layer._mix.a.nbytes + layer._mix.b.nbytes for layer in layers if layer._mix]
    pairs = [pair for layer in layers for pair in layer._pairs.values()]
    return sum(laid) + sum(array.nbytes for pair in pairs for array in pair.arrays)


def test_large_adapters_take_the_room_of_several_and_give_it_back(
    bench: Bench, tmp_path: Path
) -> None:
    small = [write_adapter(tmp_path / f"s{n}", n, 2, ("mlp.down_proj",)) for n in range(3)]
    large = write_adapter(tmp_path / "large", 7, 32, ("mlp.down_proj", "self_attn.q_proj"))
    size = (large.path / "adapters.safetensors").stat().st_size
    bench.adapters._limit, bench.adapters.max_bytes = 3, size
    answers = [bench.alone(PROMPT, adapter) for adapter in small]
    before = held(bench)
    bench.alone(PROMPT, large)
    assert bench.adapters.resident(large.digest)
    assert before < held(bench) <= size
    assert [bench.alone(PROMPT, adapter) for adapter in small] == answers
    assert not bench.adapters.resident(large.digest)
    assert held(bench) == before
    bench.adapters.max_bytes = size // 2
    bench.add(1, PROMPT, large)
    bench.finish()
    [failed] = [o for o in bench.outcomes if bench.failures() and hasattr(o, "error")]
    assert failed.error.reason == "VERSION_NOT_READY"
    assert "MLX_HUB_ADAPTER_RANK" in failed.error.message
    assert all(bench.adapters.resident(adapter.digest) for adapter in small)


def test_the_base_model_passes_one_that_waits_for_a_slot_and_adapters_do_not(
    bench: Bench, adapters: list[Adapter]
) -> None:
    one, two, three = adapters
    bench.adapters._limit = 1
    bench.batch._limits = replace(bench.batch._limits, rows=3)
    asked = {1: one, 2: two, 3: one, 4: BASE, 5: three}
    for number, adapter in asked.items():
        bench.add(number, PROMPT, adapter)
    bench.batch.step()
    assert {row.job.request for row in bench.batch._rows.values()} == {1, 4}
    bench.finish()
    ended = [outcome.request for outcome in bench.outcomes if isinstance(outcome, Ended)]
    assert set(ended[:2]) == {1, 4}
    assert ended[2:] == [2, 3, 5], "in the order in which they came"


def refusal(bench: Bench, adapter: Adapter) -> str:
    with pytest.raises(FailedPrecondition) as caught:
        bench.adapters.acquire(adapter.digest, str(adapter.path))
    assert caught.value.reason == "VERSION_NOT_READY"
    return caught.value.message


def changed(adapter: Adapter, **weights: Any) -> Adapter:
    """Write other weights into an adapter's folder."""
    save_file(weights, adapter.path / "adapters.safetensors")
    return Adapter(checksum(adapter.path), adapter.path)


def test_what_does_not_fit_is_named(bench: Bench, adapters: list[Adapter], dora: Adapter) -> None:
    weights = load_file(adapters[0].path / "adapters.safetensors")
    name = next(n for n in weights if n.endswith("lora_a"))
    broken = weights | {name: np.full_like(weights[name], np.inf)}
    assert f"the weights of {name} are not finite" in refusal(bench, changed(adapters[0], **broken))
    config = json.loads((dora.path / "adapter_config.json").read_text())
    (dora.path / "adapter_config.json").write_text(json.dumps({**config, "fine_tune_type": "lora"}))
    assert "more or less than lora_a and lora_b" in refusal(
        bench, Adapter(checksum(dora.path), dora.path)
    )


def test_files_that_break_their_loading_fail_their_request_alone(
    bench: Bench, adapters: list[Adapter]
) -> None:
    expected = bench.alone(PROMPT, adapters[1])
    bench.outcomes.clear()
    weights = load_file(adapters[0].path / "adapters.safetensors")
    # A digit to Python's isdigit, and to nothing else.
    broken = {name.replace(".1.", ".\u00b2."): array for name, array in weights.items()}
    bench.add(1, PROMPT, changed(adapters[0], **broken))
    bench.add(2, PROMPT, adapters[1])
    assert bench.finish()[2] == expected
    assert bench.failures() == [1]
