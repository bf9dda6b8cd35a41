"""Rows that start from kept keys and values: the same tokens, and never another's."""

from pathlib import Path
from typing import Any

import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import Unavailable
from services.inference.domain import Adapter
from services.inference.engine.events import Job
from services.inference.engine.prefix_disk import Layer
from services.runtime.model import load_base
from tests.fixtures.prefix_bench import BASE, STEP, PrefixBench

SYSTEM = "You are a careful assistant who answers in verse, and never twice the same. " * 2
LENGTH = 32


@pytest.fixture(scope="module")
def shared(tiny_model: Path) -> PrefixBench:
    return PrefixBench(tiny_model)


@pytest.fixture
def bench(shared: PrefixBench) -> PrefixBench:
    shared.cache.clear(lambda *_: None)
    return shared


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"repetition_penalty": 1.7},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5},
        {"temperature": 1.2, "seed": 5, "top_k": 40},
        {"logit_bias": {77: 3.0}, "logprobs": True},
    ],
)
def test_a_hit_changes_no_token(bench: PrefixBench, fields: dict[str, Any]) -> None:
    prompt, other = SYSTEM + "la la la la", SYSTEM + "another question"
    cold = {p: bench.cold(p, **fields) for p in (prompt, other)}
    assert bench.ask(prompt, **fields) == (cold[prompt], 0)
    tokens, cached = bench.ask(prompt, **fields)
    assert tokens == cold[prompt]
    assert cached >= (len(prompt) - 1) // LENGTH * LENGTH, "an exact hit"
    tokens, cached = bench.ask(other, **fields)
    assert tokens == cold[other]
    assert cached >= len(SYSTEM), "a partial hit reaches as far as the prompts are the same"


def test_the_whole_prompt_kept_still_leaves_one_token_to_read(bench: PrefixBench) -> None:
    prompt = "x" * (2 * LENGTH)
    cold = bench.cold(prompt, max_tokens=40)
    assert bench.ask(prompt, max_tokens=40) == (cold, 0)
    assert bench.ask(prompt, max_tokens=40) == (cold, 2 * LENGTH - 1)


def test_the_next_turn_starts_behind_the_answer(bench: PrefixBench) -> None:
    answer, _ = bench.ask(SYSTEM, max_tokens=40)
    turn = [*bench.tokens_of(SYSTEM), *answer, *bench.tokens_of("go on")]
    cold = bench.cold(turn)
    tokens, cached = bench.ask(turn)
    assert tokens == cold
    assert cached > len(SYSTEM)


def test_hits_and_misses_in_one_batch_answer_as_alone(
    bench: PrefixBench, adapters: list[Adapter]
) -> None:
    asked = [
        (SYSTEM + "one", BASE),
        (SYSTEM + "two, a bit longer than that", adapters[0]),
        ("short", BASE),
        ("something else entirely " * 5, adapters[1]),
    ]
    alone = [bench.cold(*each) for each in asked]
    for each in asked[:2]:
        bench.ask(*each)
    for number, each in enumerate(asked):
        bench.add(number, *each)
    mixed = bench.finish()
    assert [[t.token for t in mixed[n]] for n in range(4)] == alone
    assert [mixed[n][0].cached_tokens > 0 for n in range(4)] == [True, True, False, False]


def test_adapters_never_share_and_move_between_slots(
    bench: PrefixBench, adapters: list[Adapter]
) -> None:
    prompt = SYSTEM + "who are you?"
    cold = [bench.cold(prompt, adapter) for adapter in (BASE, *adapters)]
    # Two slots for three adapters: by its second turn each has moved.
    first = [bench.ask(prompt, adapter) for adapter in (BASE, *adapters)]
    again = [bench.ask(prompt, adapter) for adapter in (BASE, *reversed(adapters))]
    assert first == [(tokens, 0) for tokens in cold]
    assert [tokens for tokens, _ in again] == [cold[0], *reversed(cold[1:])]
    assert all(cached for _, cached in again)


def test_salts_never_share_and_opting_out_neither_reads_nor_keeps(bench: PrefixBench) -> None:
    prompt = SYSTEM + "secret"
    bench.ask(prompt, cache_salt="tenant one")
    assert bench.ask(prompt)[1] == 0
    assert bench.ask(prompt, cache_salt="tenant two")[1] == 0
    assert bench.ask(prompt, cache_salt="tenant one")[1] > 0
    before = bench.cache.counts
    bench.cold(prompt)
    bench.cold("something new " * 10)
    assert bench.cache.counts == before


def test_a_prompt_is_kept_before_its_answer_ends_and_when_it_is_cancelled(
    bench: PrefixBench,
) -> None:
    prompt = SYSTEM + "a long story"
    cold = bench.cold(prompt)
    bench.add(1, prompt, max_tokens=100)
    while not bench.outcomes:
        bench.batch.step()
    bench.add(2, prompt)
    for _ in range(3):
        bench.batch.step()
    bench.batch.cancel(1)
    told = bench.finish()[2]
    assert [token.token for token in told] == cold
    assert told[0].cached_tokens >= len(SYSTEM)


def test_the_bound_in_bytes_holds_and_a_fault_costs_only_the_hit(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.inference.engine import prefix_cache  # noqa: PLC0415

    block = 2 * 2 * 2 * 16 * 4 * LENGTH  # keys and values of two layers, two heads of sixteen
    bench = PrefixBench(tiny_model, limit=5 * block)
    for number in range(6):
        bench.ask(f"{number} bottles of beer " * 6)
        assert 0 < bench.cache.counts.bytes <= 5 * block
        kept = [len(kept.tokens) for kept in bench.cache._tree._blocks.values()]
        assert bench.cache.counts.bytes == sum(kept) * block // LENGTH
        assert not bench.cache._unsaved, "nothing waits for a disk that isn't there"
    cold = bench.cold(SYSTEM)
    bench.ask(SYSTEM)
    monkeypatch.setattr(prefix_cache, "_join", lambda _: 1 / 0)
    monkeypatch.setattr(prefix_cache, "_cut", lambda *_: 1 / 0)
    assert bench.ask(SYSTEM) == (cold, 0)
    assert bench.ask(SYSTEM + "more" * 20)[1] == 0


def test_a_window_bounds_what_a_row_attends_to_and_is_reused_whole(tiny_model: Path) -> None:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.generate import generate_step  # noqa: PLC0415
    from mlx_lm.models.cache import RotatingKVCache  # noqa: PLC0415

    bench = PrefixBench(tiny_model, window=48)
    prompt = SYSTEM + "where am I?"
    cold = bench.cold(prompt)
    cache = [RotatingKVCache(max_size=48) for _ in range(2)]  # type: ignore[no-untyped-call]
    model: Any = bench.batch._model
    whole = mx.array(bench.tokens_of(prompt))
    steps = generate_step(whole, model.model, max_tokens=12, prompt_cache=cache)
    assert cold == [int(token) for token, _ in steps]
    assert cold != PrefixBench(tiny_model).cold(prompt), "the window changes nothing"
    assert bench.ask(prompt) == (cold, 0)
    assert bench.ask(prompt) == (cold, (len(prompt) - 1) // STEP * STEP)
    other = SYSTEM + "and why?"
    expected = bench.cold(other)
    assert bench.ask(other) == (expected, len(SYSTEM) // STEP * STEP)


class Hybrid:
    """A folder's tokenizer with a model whose layers keep a convolution's state, too."""

    @staticmethod
    def load(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
        import mlx.core as mx  # noqa: PLC0415
        from mlx.utils import tree_map  # noqa: PLC0415
        from mlx_lm.models.lfm2 import Model, ModelArgs  # noqa: PLC0415

        mx.random.seed(3)
        args = ModelArgs(
            model_type="lfm2",
            vocab_size=259,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            norm_eps=1e-5,
            conv_bias=False,
            conv_L_cache=3,
            block_dim=64,
            block_ff_dim=128,
            block_multiple_of=32,
            block_ffn_dim_multiplier=1.0,
            block_auto_adjust_ff_dim=False,
            full_attn_idxs=[1],
            rope_theta=10000.0,
        )
        model = Model(args)
        # Strong enough that the layers, and not the last token alone, decide what comes next.
        model.model.layers = [
            layer.update(tree_map(lambda weight: 3 * weight, layer.parameters()))
            for layer in model.model.layers
        ]
        mx.eval(model.parameters())
        return model, load_base(folder)[1], {}


def test_a_state_that_can_not_be_cut_is_reused_whole(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fixtures.prefix_bench.load_base", Hybrid.load)
    bench = PrefixBench(tiny_model)
    prompt, other = SYSTEM + "where am I?", SYSTEM + "and why?"
    cold = {p: bench.cold(p) for p in (prompt, other)}
    assert len({tuple(tokens) for tokens in cold.values()}) == 2
    assert bench.ask(prompt) == (cold[prompt], 0)
    assert bench.ask(prompt) == (cold[prompt], (len(prompt) - 1) // STEP * STEP)
    assert bench.ask(other) == (cold[other], len(SYSTEM) // STEP * STEP)
    for number, text in enumerate((other, "short", prompt)):
        bench.add(number, text)
    mixed = bench.finish()
    assert [t.token for t in mixed[0]] == cold[other]
    assert [t.token for t in mixed[2]] == cold[prompt]


@pytest.mark.parametrize(
    ("asked", "name"), [({"window": 48}, "MAX_KV_SIZE"), ({"kv_bits": 8}, "KV_BITS")]
)
def test_a_window_and_bits_are_refused_where_layers_have_caches_of_their_own(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], name: str
) -> None:
    monkeypatch.setattr("tests.fixtures.prefix_bench.load_base", Hybrid.load)
    with pytest.raises(Unavailable, match=f"MLX_HUB_{name} must be 0"):
        PrefixBench(tiny_model, **asked)


def test_blocks_on_disk_serve_the_next_engine_and_no_other_adapter_or_salt(
    tiny_model: Path, tmp_path: Path, adapters: list[Adapter]
) -> None:
    prompt = SYSTEM + "do you remember?"
    first = PrefixBench(tiny_model, disk=tmp_path)
    cold = first.cold(prompt), first.cold(prompt, adapters[0])
    assert first.ask(prompt) == (cold[0], 0)
    assert first.ask(prompt, adapters[0]) == (cold[1], 0)
    first.save()
    second = PrefixBench(tiny_model, disk=tmp_path)
    assert second.ask(prompt, adapters[1])[1] == 0
    assert second.ask(prompt, cache_salt="other")[1] == 0
    kept = (len(prompt) - 1) // LENGTH * LENGTH
    assert second.ask(prompt) == (cold[0], kept)
    assert second.ask(prompt, adapters[0]) == (cold[1], kept)


def test_damage_on_disk_shortens_the_hit_and_changes_no_token(
    tiny_model: Path, tmp_path: Path
) -> None:
    prompt = SYSTEM + "do you remember?"
    first = PrefixBench(tiny_model, disk=tmp_path)
    cold = first.cold(prompt)
    first.ask(prompt)
    first.save()
    third = list(first.cache._tree._blocks)[2]
    path = tmp_path / "base" / f"{third.hex()}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    second = PrefixBench(tiny_model, disk=tmp_path)
    assert second.ask(prompt) == (cold, 2 * LENGTH)


@pytest.mark.parametrize(("window", "context"), [(0, 1024), (512, 2048)])
def test_a_row_that_forgets_may_be_as_long_as_the_models_context(window: int, context: int) -> None:
    from services.inference.engine.loop import _context  # noqa: PLC0415
    from services.inference.engine.pace import BatchLimits  # noqa: PLC0415

    start = engine_pb2.StartCommand(kv_tokens=1024, max_kv_size=window)
    assert _context({"max_position_embeddings": 2048}, start) == context
    limits = BatchLimits(8, 1024, 2, STEP, prefill_shared=STEP, max_kv_size=window)
    job = Job(1, pb.GenerateRequest(max_tokens=100), [0] * (context - 100), 0.0)
    assert limits.length(job) == (768 if window else 1024)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_blocks_of_every_type_survive_the_way_to_disk(name: str) -> None:
    import mlx.core as mx  # noqa: PLC0415

    from services.inference.engine import prefix_cache  # noqa: PLC0415

    dtype = prefix_cache._DTYPES[name]
    keys = mx.random.normal((1, 2, 3, 8)).astype(dtype)
    values = mx.random.normal((1, 2, 3, 4)).astype(dtype)
    raw = [(prefix_cache._raw(keys), prefix_cache._raw(values))]
    ((again_keys, again_values),) = prefix_cache._restored(raw, (Layer(2, 8, 4, name),), 3)
    assert (again_keys.dtype, again_values.dtype) == (dtype, dtype)
    assert mx.array_equal(again_keys, keys)
    assert mx.array_equal(again_values, values)
