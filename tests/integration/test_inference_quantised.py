"""Quantised keys and values: batched, kept, drafted for, and the same tokens each way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import Unavailable
from services.inference.packing import group_size, number_bytes
from services.runtime.model import prepare
from tests.fixtures.prefix_bench import PrefixBench
from tests.fixtures.tiny_model import KV_HEADS, LAYERS, write_tiny_model

SYSTEM = "You are a careful assistant who answers in verse, and never twice the same. " * 2
PROMPTS = ("short", SYSTEM + "who are you?", "something else entirely " * 3, SYSTEM + "why?")
BLOCK = 32
DIM = 64


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tiny model whose heads are wide enough for a group."""
    folder = tmp_path_factory.mktemp("wide-model")
    write_tiny_model(folder, DIM)
    return folder


@pytest.fixture(scope="module", params=[4, 8])
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["packed", "unpacked"])
def shared(wide_model: Path, bits: int, request: pytest.FixtureRequest) -> PrefixBench:
    """Give a bench whose attention multiplies by quantised numbers, as on Metal, or does not."""
    import mlx.core as mx  # noqa: PLC0415

    if request.param and mx.cuda.is_available():
        pytest.skip("MLX has no such products on CUDA")
    return PrefixBench(wide_model, kv_bits=bits, packed=request.param)


@pytest.fixture
def bench(shared: PrefixBench) -> PrefixBench:
    shared.cache.clear(lambda *_: None)
    return shared


def test_a_row_answers_as_mlx_lms_own_quantised_cache_does(bench: PrefixBench, bits: int) -> None:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.generate import generate_step  # noqa: PLC0415
    from mlx_lm.models.cache import QuantizedKVCache  # noqa: PLC0415

    model: Any = bench.batch._model

    def by_mlx_lm(prompt: str, **how: Any) -> list[int]:
        tokens = mx.array(bench.tokens_of(prompt))
        steps = generate_step(tokens, model.model, max_tokens=24, **how)
        return [int(token) for token, _ in steps]

    prompts = PROMPTS[:2]
    answers = [bench.cold(prompt, max_tokens=24) for prompt in prompts]
    for prompt, answer in zip(prompts, answers, strict=True):
        own = [QuantizedKVCache(64, bits) for _ in range(LAYERS)]
        assert by_mlx_lm(prompt, prompt_cache=own) == answer
    if bits == 8:
        # Here MLX-LM still reads the first piece of a prompt by numbers that are not quantised.
        asked = {"kv_bits": bits, "quantized_kv_start": 0}
        assert answers == [by_mlx_lm(prompt, **asked) for prompt in prompts]
    else:
        assert answers != [by_mlx_lm(prompt) for prompt in prompts]


def test_rows_that_come_and_go_answer_as_alone(bench: PrefixBench) -> None:
    alone = [bench.cold(prompt) for prompt in PROMPTS]
    bench.add(9, SYSTEM + "never mind", max_tokens=100)
    for number, prompt in enumerate(PROMPTS):
        bench.add(number, prompt)
        bench.batch.step()
    bench.batch.cancel(9)
    told = bench.finish()
    assert [[t.token for t in told[number]] for number in range(4)] == alone
    again = [bench.ask(prompt) for prompt in PROMPTS]
    assert [tokens for tokens, _ in again] == alone, "what was taken out of the batch is the row's"
    assert [cached > 0 for _, cached in again] == [False, True, True, True]


def test_short_prompts_that_are_read_in_one_pass_answer_as_alone(bench: PrefixBench) -> None:
    prompts = ["hm", "a longer one than that", "what?"]
    alone = [bench.cold(prompt) for prompt in prompts]
    bench.batch._limits = bench.batch._pace._limits = replace(bench.batch._limits, ends_alone=True)
    for number, prompt in enumerate(prompts):
        bench.add(number, prompt, cache_prompt=False)
    told = bench.finish()
    assert [[t.token for t in told[number]] for number in range(3)] == alone


def test_a_hit_takes_less_memory_and_changes_no_token(bench: PrefixBench, bits: int) -> None:
    prompt, other = PROMPTS[1], PROMPTS[3]
    cold = {p: bench.cold(p) for p in (prompt, other)}
    assert bench.ask(prompt) == (cold[prompt], 0)
    kept = sum(len(block.tokens) for block in bench.cache._tree._blocks.values())
    numbers = 2 * LAYERS * KV_HEADS * DIM * kept
    assert bench.cache.counts.bytes == numbers * number_bytes(bits, DIM, 4)
    assert bench.ask(prompt) == (cold[prompt], len(prompt) - 1)
    tokens, cached = bench.ask(other)
    assert tokens == cold[other]
    assert cached >= len(SYSTEM)
    turn = [*bench.tokens_of(other), *tokens, *bench.tokens_of("go on")]
    expected = bench.cold(turn)
    assert bench.ask(turn)[0] == expected
    bench.add(1, prompt)
    bench.add(2, "nothing of that is known yet")
    assert [t.token for t in bench.finish()[1]] == cold[prompt]


def test_the_rows_take_what_is_forecast(bench: PrefixBench, bits: int) -> None:
    bench.add(1, "x " * 100, max_tokens=50, cache_prompt=False)
    while not bench.outcomes:
        bench.batch.step()
    numbers = 2 * LAYERS * KV_HEADS * DIM * 256
    assert bench.batch.kv_bytes == numbers * number_bytes(bits, DIM, 4)
    bench.finish()


def test_drafts_change_no_token(bench: PrefixBench, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.inference.engine.proposers import Payoff  # noqa: PLC0415

    monkeypatch.setattr(Payoff, "resting", lambda _: False)
    drafted = accepted = 0
    for prompt in ([7, 8, 9, 10, 200, 31] * 8, [7, 8, 9, 10, 7, 8, 12, 13, 9, 10, 31, 7, 8] * 3):
        plain = bench.cold(prompt, max_tokens=40)
        bench.add(1, prompt, max_tokens=40, drafting=True, cache_prompt=False)
        told = bench.finish()[1]
        assert [t.token for t in told] == plain
        drafted, accepted = drafted + told[-1].drafted, accepted + told[-1].accepted
    assert drafted > accepted > 0, "the drafts were never wrong, or never right"


def test_blocks_on_disk_serve_the_same_bits_only(wide_model: Path, tmp_path: Path) -> None:
    prompt = PROMPTS[1]
    first = PrefixBench(wide_model, disk=tmp_path, kv_bits=8)
    cold = first.cold(prompt)
    first.ask(prompt)
    first.save()
    kept = len(prompt) // BLOCK * BLOCK
    assert PrefixBench(wide_model, disk=tmp_path, kv_bits=8).ask(prompt) == (cold, kept)
    for bits in (0, 4):
        assert PrefixBench(wide_model, disk=tmp_path, kv_bits=bits).ask(prompt)[1] == 0


@pytest.mark.parametrize(("width", "size"), [(64, 64), (96, 32), (256, 64)])
def test_the_largest_group_that_fits_is_taken(width: int, size: int) -> None:
    assert group_size(width) == size


def test_heads_that_no_group_fits_are_refused_with_their_width(tiny_model: Path) -> None:
    why = "16 numbers wide.* groups of 64 or 32; MLX_HUB_KV_BITS must be 0"
    with pytest.raises(Unavailable, match=why):
        PrefixBench(tiny_model, kv_bits=8)


def test_attention_that_can_not_take_them_is_refused() -> None:
    prepare()
    from mlx_lm.models.deepseek_v3 import Model, ModelArgs  # noqa: PLC0415

    from services.inference.engine.quantised import form_for  # noqa: PLC0415

    sizes = ("vocab_size", "hidden_size", "intermediate_size", "kv_lora_rank", "v_head_dim")
    args: Any = {**dict.fromkeys(sizes, 64), "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Model(ModelArgs(**args, qk_nope_head_dim=64, q_lora_rank=64))
    with pytest.raises(Unavailable, match="a way of their own; MLX_HUB_KV_BITS must be 0"):
        form_for(model, 8, packed=True)
