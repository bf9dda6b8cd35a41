"""Quantised keys and values: batched, kept, drafted for, and the same tokens each way."""

from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import Unavailable
from services.inference.domain import Adapter
from services.inference.groups import number_bytes
from services.runtime.model import load_base
from tests.fixtures.prefix_bench import BASE, PrefixBench
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


@pytest.fixture(scope="module")
def shared(wide_model: Path, bits: int) -> PrefixBench:
    return PrefixBench(wide_model, kv_bits=bits)


@pytest.fixture
def bench(shared: PrefixBench) -> PrefixBench:
    shared.cache.clear(lambda *_: None)
    return shared


def by_mlx_lm(folder: Path, prompt: str, cache: list[Any]) -> list[int]:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.generate import generate_step  # noqa: PLC0415

    model, tokenizer, _ = load_base(folder)
    tokens = mx.array(tokenizer.encode(prompt, add_special_tokens=False))
    steps = generate_step(tokens, model, max_tokens=40, prompt_cache=cache)
    return [int(token) for token, _ in steps]


def test_a_row_answers_as_mlx_lms_own_quantised_cache_does(
    bench: PrefixBench, wide_model: Path, bits: int
) -> None:
    from mlx_lm.models.cache import KVCache, QuantizedKVCache  # noqa: PLC0415

    for prompt in PROMPTS[:2]:
        tokens = bench.cold(prompt, max_tokens=40)
        own = [QuantizedKVCache(64, bits) for _ in range(LAYERS)]  # type: ignore[no-untyped-call]
        assert tokens == by_mlx_lm(wide_model, prompt, own)
        print(tokens == by_mlx_lm(wide_model, prompt, [KVCache() for _ in range(LAYERS)]))
