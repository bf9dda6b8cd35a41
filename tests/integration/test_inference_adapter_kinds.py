"""Adapters of embeddings and of experts in one batch, with mlx-lm's own layers as the measure."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb

from services.inference.domain import Adapter
from services.inference.engine.events import Job, Outcome, Token
from services.runtime.model import load_base, load_lazily, prepare
from tests.fixtures.exchange import change_config
from tests.fixtures.tiny_adapters import write_adapter
from tests.fixtures.tiny_kinds import EMBEDDING, EXPERTS, adapter_of, write_model
from tests.fixtures.tiny_model import EOS
from tests.integration.test_inference_adapters import changed, mixed, refusal, stock
from tests.integration.test_inference_batch import BASE, Bench

KEYS = {
    "qwen3_moe": (EXPERTS, (EMBEDDING, "lm_head"), (*EXPERTS[1:], "mlp.gate", "self_attn.q_proj")),
    "olmoe": (EXPERTS, (EMBEDDING,), (EXPERTS[2], "mlp.gate")),
    "phixtral": (("moe.switch_mlp.fc1", "moe.switch_mlp.fc2"), ("moe.switch_mlp.fc2", "moe.gate")),
}
PROMPTS = [[5, 6, 7], [*range(10, 40)], [9], [100, 101], [*range(40, 140)], [7] * 20, [8, 9]]


def packed(model: Any) -> Any:
    """Pack the layers' weights, as they are on a GPU."""
    from mlx.nn.layers.quantized import quantize  # noqa: PLC0415

    quantize(model, group_size=32, bits=4)
    return model


def solo(base: Path, adapter: Adapter, *, pack: bool = False) -> Callable[[Any], Any]:
    """Give what computes mlx-lm's own logits."""
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415

    model, _ = load_lazily(base)
    model = packed(model) if pack else model
    if adapter.digest:
        load_adapters(model, str(adapter.path))
        model.eval()
    return lambda tokens: np.array(model(mx.array(tokens)))


def solo_tokens(base: Path, adapter: Adapter, prompt: list[int]) -> list[int]:
    """Give mlx-lm's twelve greedy tokens that do not end the text."""
    answer, computed = list(prompt), solo(base, adapter)
    for _ in range(12):
        scores = computed([answer])[0, -1]
        scores[EOS] = -np.inf
        answer.append(int(scores.argmax()))
    return answer[len(prompt) :]


@pytest.fixture
def bench(tiny_model: Path) -> Bench:
    return Bench(tiny_model)


class Served:
    """A model with slots, run by hand."""

    def __init__(self, base: Path, *, quick: bool = False, pack: bool = False) -> None:
        prepare()
        # They import MLX, which has to be prepared first.
        from services.inference.engine.adapters.routing import RoutedModel  # noqa: PLC0415
        from services.inference.engine.adapters.slots import Adapters  # noqa: PLC0415
        from services.inference.engine.head import Ends, quicken_head  # noqa: PLC0415

        model, _, _ = load_base(base)
        model = packed(model) if pack else model
        self.ends = quicken_head(model) if quick else Ends()
        self.model = RoutedModel(model, ends=self.ends)
        self.adapters = Adapters(self.model, 4, 10**7)

    def slots(self, *adapters: Adapter) -> list[int]:
        return [self.adapters.acquire(a.digest, str(a.path)) or 0 for a in adapters]

    def generated(self, rows: list[Adapter]) -> list[list[int]]:
        """Answer the prompts, which came together."""
        from services.inference.engine.batch import Batch  # noqa: PLC0415
        from services.inference.engine.pace import BatchLimits  # noqa: PLC0415

        outcomes: list[Outcome] = []
        limits = BatchLimits(8, 8192, 8, prefill_step=64, prefill_shared=16, ends_alone=True)
        batch = Batch(self.model, self.adapters, {EOS}, limits, outcomes.append)
        for number, (adapter, prompt) in enumerate(zip(rows, PROMPTS, strict=True)):
            asked = pb.GenerateRequest(max_tokens=12, logit_bias={EOS: -100})
            now, path = time.monotonic(), str(adapter.path)
            batch.add(Job(number, asked, prompt, now, adapter.digest, path))
        while batch.running or batch.waiting:
            batch.step()
        told = [o for o in outcomes if isinstance(o, Token)]
        return [[t.token for t in told if t.request == n] for n in range(len(rows))]

    def logits(self, slots: list[int], tokens: Any, at: int | None = None) -> Any:
        import mlx.core as mx  # noqa: PLC0415

        from services.inference.engine.adapters.tag import RowTag  # noqa: PLC0415

        self.ends.at = None if at is None else mx.full((len(slots), 1, 1), at)
        cache = [*self.model.row_cache(0)[:-1], RowTag(slots)]
        return np.array(self.model(mx.array(tokens), cache=cache))


@pytest.mark.parametrize("kind", KEYS)
def test_experts_answer_as_mlx_lms_do_sorted_or_not(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    base = write_model(tiny_model, tmp_path / "base", kind)
    adapters = [
        adapter_of(base, tmp_path / str(n), keys, rank=2 + n) for n, keys in enumerate(KEYS[kind])
    ]
    rows = [BASE, *adapters, adapters[0]]
    served = Served(base)
    slots = served.slots(*rows)
    theirs = {adapter.digest: solo(base, adapter) for adapter in rows}
    random = np.random.default_rng(1)
    for length in (1, 20):  # from 64 experts on, mlx-lm sorts
        tokens = random.integers(3, 250, (len(rows), length))
        wanted = [theirs[a.digest](tokens[n : n + 1])[0] for n, a in enumerate(rows)]
        np.testing.assert_allclose(served.logits(slots, tokens), wanted, atol=1e-4)
    bare, own = theirs[""](tokens), theirs[adapters[0].digest](tokens)
    assert np.abs(bare - wanted).max(axis=(1, 2))[1:].min() > 0.01, "an adapter changes nothing"
    alone = served.logits([slots[1]] * len(rows), tokens)
    np.testing.assert_allclose(alone, own, atol=1e-4)


@pytest.mark.parametrize("quick", [False, True])
def test_a_tied_embedding_is_adapted_where_it_is_the_head_too(
    tiny_model: Path, tmp_path: Path, *, quick: bool
) -> None:
    keys = (EMBEDDING, "self_attn.q_proj")
    lora = adapter_of(tiny_model, tmp_path / "lora", keys, rank=3)
    dora = adapter_of(tiny_model, tmp_path / "dora", keys, rank=4, dora=True)
    linear = write_adapter(tmp_path / "linear", 1, 4, ("self_attn.q_proj",))
    rows = [lora, BASE, dora, linear]
    tokens = np.random.default_rng(2).integers(3, 250, (4, 6))
    served = Served(tiny_model, quick=quick)
    slots = served.slots(*rows)
    wanted = [solo(tiny_model, a)(tokens[n : n + 1])[0] for n, a in enumerate(rows)]
    np.testing.assert_allclose(served.logits(slots, tokens), wanted, atol=1e-4)
    for row, slot in enumerate(slots):
        alone = served.logits([slot], tokens[row : row + 1])
        np.testing.assert_allclose(alone[0], wanted[row], atol=1e-4)
    if quick:
        ends = served.logits(slots, tokens, at=4)
        assert ends.shape[1] == 1
        np.testing.assert_allclose(ends[:, 0], np.array(wanted)[:, 4], atol=1e-4)


def test_packed_layers_are_adapted_too(tiny_model: Path, tmp_path: Path) -> None:
    base = write_model(tiny_model, tmp_path / "base", "qwen3_moe")
    adapter = adapter_of(base, tmp_path / "adapter", (*EXPERTS, EMBEDDING, "lm_head"))
    served = Served(base, pack=True)
    [slot] = served.slots(adapter)
    tokens = np.random.default_rng(3).integers(3, 250, (2, 5))
    wanted = [solo(base, a, pack=True)(tokens[n : n + 1])[0] for n, a in enumerate((BASE, adapter))]
    np.testing.assert_allclose(served.logits([0, slot], tokens), wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "olmoe", "qwen3_moe"])
def test_they_generate_in_one_batch_what_mlx_lm_does(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    """Read together with padding, the head asked about last tokens alone; the llama's is tied."""
    base = tiny_model if kind == "llama" else write_model(tiny_model, tmp_path / "base", kind)
    adapters = [BASE, adapter_of(base, tmp_path / "embedding", (EMBEDDING,), 3)]
    if kind == "llama":
        keys = (EMBEDDING, "self_attn.q_proj")
        adapters.append(adapter_of(base, tmp_path / "dora", keys, 8, dora=True))
    else:
        adapters.append(adapter_of(base, tmp_path / "experts", EXPERTS, 8))
    if kind == "qwen3_moe":
        adapters.append(adapter_of(base, tmp_path / "head", ("lm_head", "mlp.gate"), 6))
    rows = [adapters[n % len(adapters)] for n in range(len(PROMPTS))]
    assert Served(base, quick=True).generated(rows) == [
        solo_tokens(base, adapter, prompt) for adapter, prompt in zip(rows, PROMPTS, strict=True)
    ]


def test_an_adapter_that_goes_takes_nothing_of_the_others(tiny_model: Path, tmp_path: Path) -> None:
    base = write_model(tiny_model, tmp_path / "base", "qwen3_moe")
    keys = ((*EXPERTS, EMBEDDING), (EXPERTS[0], "lm_head"), EXPERTS[:2])
    adapters = [adapter_of(base, tmp_path / str(n), k, rank=2 * n + 2) for n, k in enumerate(keys)]
    bench = Bench(base)
    expected = [stock(base, adapter) for adapter in adapters]
    assert [bench.alone("as it should be", adapter) for adapter in adapters] == expected
    assert not bench.adapters.resident(adapters[0].digest), "there are two slots"
    assert mixed(bench, adapters[2], adapters[0], BASE) == [
        expected[2], expected[0], stock(base, BASE)
    ]  # fmt: skip
    bench.adapters.max_bytes = 100
    assert "may have 0.0 MB together" in refusal(bench, adapters[1])


def test_layers_that_are_not_served_are_named_with_their_kind(
    bench: Bench, adapters: list[Adapter]
) -> None:
    from mlx_lm.models.switch_layers import SwitchGLU, SwitchLinear  # noqa: PLC0415

    def refused(layer: str, a: tuple[int, ...], b: tuple[int, ...], **more: Any) -> str:
        parts = {"lora_a": np.ones(a, np.float32), "lora_b": np.ones(b, np.float32), **more}
        weights = {f"{layer}.{part}": array for part, array in parts.items()}
        return refusal(bench, changed(adapters[0], **weights))

    assert "model.norm is of kind RMSNorm" in refused("model.norm", (4, 4), (4, 4))
    assert "takes [259, 4]" in refused(EMBEDDING, (64, 4), (4, 64))
    layer = bench.batch._model.model.layers[1]
    layer.mlp.gate_proj = SwitchLinear(64, 128, 3, bias=False)
    name, shapes = "model.layers.1.mlp.gate_proj", ((3, 4, 64), (3, 128, 4))
    assert f"{name} can't be adapted, experts are served within" in refused(name, *shapes)
    layer.mlp = SwitchGLU(64, 128, 3)
    assert "takes [3, 128, 4]" in refused(name, (3, 4, 64), (3, 4, 128))
    change_config(adapters[0].path, fine_tune_type="dora")
    message = refused(name, *shapes, m=np.ones(128, np.float32))
    assert f"{name} is of kind SwitchLinear, for which there is no DoRA" in message


def test_a_model_that_takes_its_embedding_past_the_layer_keeps_it(
    bench: Bench, tmp_path: Path, tiny_model: Path
) -> None:
    adapter = adapter_of(tiny_model, tmp_path / "embedding", (EMBEDDING,))
    before = bench.alone("as it should be")
    model = bench.batch._model.model

    class Direct(type(model)):  # type: ignore[misc]
        def __call__(self, inputs: Any, cache: Any = None) -> Any:
            return self.model(inputs, cache) @ self.model.embed_tokens.weight.T

    kind, model.__class__ = type(model), Direct
    message = refusal(bench, adapter)
    assert "computes with the weights of a layer that it adapts themselves" in message
    assert f"it adapts {EMBEDDING}" in message
    assert bench.alone("as it should be") == before
    model.__class__ = kind
    assert bench.alone("as it should be", adapter) == stock(tiny_model, adapter)


@pytest.mark.parametrize("way", ["weights", "halves", "heads"])
def test_a_model_with_a_way_of_its_own_with_a_layer_keeps_it(
    bench: Bench, adapters: list[Adapter], way: str
) -> None:
    """As muse_spark takes its gate's weights, and afm7's layers give two halves."""
    import mlx.core as mx  # noqa: PLC0415
    from mlx.nn.layers.linear import Linear  # noqa: PLC0415

    class Halves(Linear):
        def __call__(self, x: Any) -> Any:
            return tuple(mx.split(super().__call__(x), 2, axis=-1))

    layer = bench.batch._model.model.layers[1]

    class Own(type(layer.mlp)):  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            if way == "weights":
                return x * self.down_proj.weight.sum()
            wide = mx.concatenate([x, x], axis=-1)
            if way == "heads":
                return self.down_proj(mx.stack([wide] * 4, axis=1)).mean(axis=1)
            return mx.concatenate(self.down_proj(wide), axis=-1)

    layer.mlp.__class__ = Own
    if way == "halves":
        layer.mlp.down_proj.__class__ = Halves
    before = bench.alone("as it should be")
    message = refusal(bench, adapters[0])
    assert "it adapts model.layers.N.mlp.down_proj, model.layers.N.self_attn.q_proj" in message
    assert bench.alone("as it should be") == before
    assert bench.alone("as it should be", adapters[1]) != before


def test_dora_of_a_packed_embedding_is_reckoned_in_blocks(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX-LM has none: the measure is its layer over the same weights, unpacked."""
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.utils import dequantize_model  # noqa: PLC0415

    from services.inference.engine.adapters import dora as module  # noqa: PLC0415

    monkeypatch.setattr(module, "BLOCK_NUMBERS", 100 * 64)
    adapter = adapter_of(tiny_model, tmp_path / "dora", (EMBEDDING, "mlp.up_proj"), dora=True)
    served = Served(tiny_model, pack=True)
    [slot] = served.slots(adapter)
    tokens = np.random.default_rng(3).integers(3, 250, (2, 5))
    found = served.logits([0, slot], tokens)
    model = dequantize_model(packed(load_lazily(tiny_model)[0]))
    assert np.abs(found[0] - np.array(model(mx.array(tokens[:1])))[0]).max() < 1e-3
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415

    load_adapters(model, str(adapter.path))
    wanted = np.array(model(mx.array(tokens[1:])))[0]
    np.testing.assert_allclose(found[1], wanted, atol=1e-3)
