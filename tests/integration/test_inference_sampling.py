"""Sampling in a batch, against the same rules written down in NumPy, for any settings."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_hub.inference.v1.generation_pb2 import GenerateRequest

from services.chassis.errors import Invalid
from services.chassis.interceptors.validation import validate
from services.inference.engine.events import Token
from tests.fixtures.tiny_model import VOCABULARY
from tests.integration.test_inference_batch import Bench, Logits, Reference

PROMPT = "la la la"
PENALTY = st.sampled_from([-2.0, -0.4, 0.0, 0.6, 2.0])
SETTINGS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.2, 0.9, 2.0]),
        "top_p": st.sampled_from([0.05, 0.5, 0.95, 1.0]),
        "top_k": st.sampled_from([0, 1, 3, 40, 1000]),
        "min_p": st.sampled_from([0.0, 0.01, 0.2, 1.0]),
        "repetition_penalty": st.sampled_from([0.5, 1.0, 1.3, 2.0]),
        "presence_penalty": PENALTY,
        "frequency_penalty": PENALTY,
        "logit_bias": st.dictionaries(
            st.integers(3, len(VOCABULARY) - 1), st.sampled_from([-100.0, -1.5, 3.0]), max_size=40
        ),
        "seed": st.integers(0, 2**31 - 1),
    }
)
few = settings(max_examples=12)


@pytest.fixture(scope="module")
def shared(tiny_model: Path) -> tuple[Bench, Reference]:
    """Make one batch, empty between examples, and the model alone."""
    return Bench(tiny_model), Reference(tiny_model)


@few
@given(wanted=SETTINGS, others=st.lists(SETTINGS, min_size=3, max_size=3))
def test_a_seed_gives_the_same_tokens_alone_and_among_others(
    shared: tuple[Bench, Reference], wanted: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    bench, _ = shared
    bench.outcomes.clear()
    bench.add(1, PROMPT, **wanted)
    alone = bench.finish()[1]
    bench.outcomes.clear()
    for number, fields in enumerate(others, 2):
        bench.add(number, PROMPT * number, **fields)
    bench.batch.step()
    bench.add(1, PROMPT, **wanted)
    assert bench.finish()[1] == alone
    assert bench.failures() == []


@few
@given(wanted=SETTINGS)
def test_every_token_is_one_that_the_settings_allow_and_its_likelihood_is_true(
    shared: tuple[Bench, Reference], wanted: dict[str, Any]
) -> None:
    bench, reference = shared
    bench.outcomes.clear()
    bench.add(1, PROMPT, logprobs=True, top_logprobs=20, **wanted)
    bench.finish()
    prompt = reference.tokenizer.encode(PROMPT, add_special_tokens=False)
    answer: list[int] = []
    for told in bench.outcomes:
        if not isinstance(told, Token) or not told.visible:
            continue
        logits = shaped(reference.logits(prompt + answer), prompt, answer, wanted)
        logprobs = logits - np.logaddexp.reduce(logits)
        assert_allowed(logprobs, told.token, wanted)
        assert told.likelihood is not None
        assert told.likelihood.logprob == pytest.approx(logprobs[told.token], abs=2e-3)
        top = [logprob for _, logprob in told.likelihood.top]
        assert top == sorted(top, reverse=True)
        assert 0 < np.exp(top).sum() <= 1 + 1e-4
        assert told.likelihood.logprob <= top[0] + 1e-6
        answer.append(told.token)
    assert bench.failures() == []


def shaped(logits: Logits, prompt: list[int], answer: list[int], how: dict[str, Any]) -> Logits:
    """Apply biases and penalties in the engine's order."""
    for token, bias in how["logit_bias"].items():
        logits[token] += bias
    recent = sorted(set((prompt + answer)[-64:]))
    penalty = how["repetition_penalty"]
    hit = logits[recent]
    logits[recent] = np.where(hit < 0, hit * penalty, hit / penalty)
    logits[sorted(set(answer))] -= how["presence_penalty"]
    np.subtract.at(logits, answer, how["frequency_penalty"])
    return logits


def assert_allowed(logprobs: Logits, token: int, how: dict[str, Any]) -> None:
    """Check a token against top_p, min_p and top_k; what is on a border may be on either side."""
    odds = np.exp(logprobs)
    likelier = odds > odds[token] * (1 + 1e-3)
    assert odds[likelier].sum() < how["top_p"] + 1e-3
    assert odds[token] >= odds.max() * how["min_p"] * (1 - 1e-2)
    assert not how["top_k"] or likelier.sum() < how["top_k"]


@pytest.mark.parametrize("temperature", [1e-45, 1e-40, 1e-30, 1e-6])
def test_the_colder_the_more_greedy(shared: tuple[Bench, Reference], temperature: float) -> None:
    bench, _ = shared
    bench.outcomes.clear()
    greedy = bench.alone("hello")
    bench.add(1, "hello", temperature=temperature, seed=3)
    assert bench.finish()[1] == greedy


def test_half_precision_samples_as_well() -> None:
    """A 16-bit float ends at 65,504: likelihoods over a small temperature must not reach it."""
    import mlx.core as mx  # noqa: PLC0415

    from services.inference.engine import sampling  # noqa: PLC0415

    logits = mx.array([[-2.0, 3.0, 1.0, 2.9]])
    logprobs = (logits - mx.logsumexp(logits) - 4.0).astype(mx.float16)
    sample = sampling.sampler_of(GenerateRequest(temperature=1e-5, seed=1))
    assert [sample(logprobs).item() for _ in range(8)] == [1] * 8


@pytest.mark.parametrize("penalty", [1e-3, 1e-38, 1e-45])
def test_the_smallest_penalty_leaves_likelihoods(
    shared: tuple[Bench, Reference], penalty: float
) -> None:
    bench, _ = shared
    bench.outcomes.clear()
    bench.add(1, PROMPT, repetition_penalty=penalty, logprobs=True, top_logprobs=3)
    bench.finish()
    told = [o.likelihood for o in bench.outcomes if isinstance(o, Token) and o.likelihood]
    values = [value for each in told for value in (each.logprob, *(v for _, v in each.top))]
    assert values
    assert all(-math.inf < value <= 0 for value in values)


@pytest.mark.parametrize(
    ("bias", "fine"),
    [
        ({0: -100.0, 2**31 - 1: 100.0}, True),
        (dict.fromkeys(range(300), 1.0), True),
        (dict.fromkeys(range(301), 1.0), False),
        ({1: 100.1}, False),
        ({1: -101.0}, False),
        ({1: float("nan")}, False),
        ({-1: 1.0}, False),
    ],
)
def test_biases_are_bounded(bias: dict[int, float], fine: bool) -> None:
    request = GenerateRequest(model_id=1, prompt="x", logit_bias=bias)
    if fine:
        validate(request)
        return
    with pytest.raises(Invalid) as caught:
        validate(request)
    assert caught.value.violations[0].field.startswith("logit_bias")
