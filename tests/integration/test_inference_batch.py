"""The batch itself, in this process: a fault in one row, a fault in all, mlx-lm as the measure."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import FailedPrecondition
from services.inference.domain import Adapter
from services.inference.engine.events import Ended, Failed, Job, Outcome, Token
from services.runtime.folder import digest_of, hash_folder
from services.runtime.model import load_base, prepare

type Logits = npt.NDArray[np.float64]

BASE = Adapter("", Path())


class Bench:
    """A batch on the test's own thread, stepped by hand."""

    def __init__(self, folder: Path) -> None:
        prepare()
        # They import MLX, which has to be prepared first.
        from services.inference.engine.adapters.routing import RoutedModel  # noqa: PLC0415
        from services.inference.engine.adapters.slots import Adapters  # noqa: PLC0415
        from services.inference.engine.batch import Batch  # noqa: PLC0415
        from services.inference.engine.pace import BatchLimits  # noqa: PLC0415

        model, tokenizer, _ = load_base(folder)
        routed = RoutedModel(model)
        limits = BatchLimits(4, 8192, prefill_rows=2, prefill_step=16, prefill_shared=8)
        self.outcomes: list[Outcome] = []
        self.adapters = Adapters(routed, limit=2, max_bytes=1_000_000)
        self.tokenizer = tokenizer
        self.batch = Batch(routed, self.adapters, {2}, limits, self.outcomes.append)

    def add(self, request: int, prompt: str, adapter: Adapter = BASE, **fields: Any) -> None:
        generate = pb.GenerateRequest(max_tokens=12, **fields)
        tokens = self.tokenizer.encode(prompt, add_special_tokens=False)
        now = time.monotonic()
        self.batch.add(Job(request, generate, tokens, now, adapter.digest, str(adapter.path)))

    def finish(self) -> dict[int, list[int]]:
        """Step to the end and give each request's tokens."""
        while self.batch.running or self.batch.waiting:
            self.batch.step()
        tokens: dict[int, list[int]] = {}
        for outcome in self.outcomes:
            if isinstance(outcome, Token):
                tokens.setdefault(outcome.request, []).append(outcome.token)
        return tokens

    def failures(self) -> list[int]:
        return [o.request for o in self.outcomes if isinstance(o, Failed)]

    def alone(self, prompt: str, adapter: Adapter = BASE) -> list[int]:
        self.add(99, prompt, adapter)
        tokens = self.finish()[99]
        self.outcomes.clear()
        return tokens


@pytest.fixture
def bench(tiny_model: Path) -> Bench:
    return Bench(tiny_model)


def after(calls: int, then: Callable[..., Any]) -> Callable[..., Any]:
    count = 0

    def call(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise RuntimeError("poisoned")
        return then(*arguments)

    return call


@pytest.mark.parametrize("calls", [0, 3])
def test_a_poisoned_sampler_fails_its_row_and_its_neighbours_lose_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    from mlx_lm.sample_utils import greedy_sampler  # noqa: PLC0415

    from services.inference.engine import sampling  # noqa: PLC0415

    good = {1: bench.alone("good one"), 3: bench.alone("another good one, a bit longer than that")}
    real = sampling.sampler_of

    def poison(request: pb.GenerateRequest) -> Any:
        if request.seed != 13:
            return real(request)
        return sampling.Guarded(after(calls, greedy_sampler), greedy_sampler)

    monkeypatch.setattr(sampling, "sampler_of", poison)
    bench.add(1, "good one")
    bench.add(2, "poison", seed=13, temperature=1)
    bench.add(3, "another good one, a bit longer than that")
    tokens = bench.finish()
    assert bench.failures() == [2]
    assert {n: tokens[n] for n in (1, 3)} == good
    assert len(tokens.get(2, [])) <= calls


def test_a_poisoned_processor_fails_its_row_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.inference.engine import sampling  # noqa: PLC0415

    good = bench.alone("good one")
    poisoned = sampling.Guarded(after(2, lambda _, logits: logits), lambda _, logits: logits)
    monkeypatch.setattr(
        sampling, "processors_of", lambda request, _: [poisoned] if request.seed == 13 else []
    )
    bench.add(1, "good one")
    bench.add(2, "poison", seed=13)
    assert bench.finish()[1] == good
    assert bench.failures() == [2]


def test_a_fault_in_the_forward_pass_fails_all_rows_loudly_and_the_batch_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, adapters: list[Adapter]
) -> None:
    good = bench.alone("good one")
    with monkeypatch.context() as broken:
        broken.setattr(type(bench.batch._model), "__call__", after(2, lambda *_: None))
        for number in (1, 2, 3):
            bench.add(number, "good one", adapters[0] if number == 2 else BASE)
        bench.batch.step()
    bench.finish()
    assert bench.failures() == [1, 2, 3]
    bench.add(4, "good one")
    assert bench.finish()[4] == good


def test_cancelling_drops_a_row_in_any_state_and_the_others_lose_nothing(bench: Bench) -> None:
    texts = {n: f"prompt number {n} " * n for n in range(1, 7)}
    good = {n: bench.alone(texts[n]) for n in (2, 5)}
    for number, text in texts.items():
        bench.add(number, text)
    bench.batch.cancel(6)
    bench.batch.step()
    bench.batch.cancel(1)
    bench.batch.cancel(4)
    bench.batch.step()
    bench.batch.step()
    bench.batch.cancel(3)
    bench.batch.cancel(77)
    tokens = bench.finish()
    assert {n: tokens[n] for n in (2, 5)} == good
    assert sorted(o.request for o in bench.outcomes if isinstance(o, Ended)) == [2, 5]


def test_the_rows_keys_and_values_are_measured(bench: Bench) -> None:
    assert bench.batch.kv_bytes == 0
    bench.add(1, "x y " * 40)
    bench.batch.step()
    reading = bench.batch.kv_bytes
    while not bench.outcomes:
        bench.batch.step()
    alone = bench.batch.kv_bytes
    bench.finish()
    bench.outcomes.clear()
    for number in (2, 3):
        bench.add(number, "x y " * 40)
    while not bench.outcomes:
        bench.batch.step()
    assert 0 < reading <= alone < bench.batch.kv_bytes
    bench.finish()
    assert bench.batch.kv_bytes == 0


def test_an_adapter_answers_as_mlx_lm_itself_does(
    bench: Bench, tiny_model: Path, adapters: list[Adapter]
) -> None:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.generate import generate_step  # noqa: PLC0415
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415

    served = {n: bench.alone("as it should be", a) for n, a in enumerate((BASE, *adapters))}
    for number, adapter in enumerate((BASE, *adapters)):
        model, tokenizer, _ = load_base(tiny_model)
        if adapter.digest:
            model = load_adapters(model, str(adapter.path))
            model.eval()
        prompt = mx.array(tokenizer.encode("as it should be", add_special_tokens=False))
        steps = generate_step(prompt, model, max_tokens=12)
        expected = [int(token) for token, _ in steps]
        assert served[number] == expected[: len(served[number])]
        assert len(served[number]) == 12 or expected[len(served[number]) - 1] == 2


def test_a_repetition_penalty_changes_what_is_repeated(bench: Bench) -> None:
    bench.add(1, "la la la la", repetition_penalty=1)
    bench.add(2, "la la la la", repetition_penalty=1.9)
    tokens = bench.finish()
    assert tokens[1] == bench.alone("la la la la")
    assert tokens[2] != tokens[1]


class Reference:
    """The same model without a batch, asked for the logits after some tokens."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer, _ = load_base(folder)

    def logits(self, tokens: list[int]) -> Logits:
        import mlx.core as mx  # noqa: PLC0415

        return np.array(self.model(mx.array([tokens]))[0, -1], np.float64)

    def greedy(self, prompt: str, change: Callable[[Logits, list[int]], None]) -> list[int]:
        """Take the likeliest token each time, after `change` has had the logits and the answer."""
        tokens, answer = self.tokenizer.encode(prompt, add_special_tokens=False), list[int]()
        while len(answer) < 12 and 2 not in answer:
            logits = self.logits(tokens + answer)
            change(logits, answer)
            answer.append(int(logits.argmax()))
        return answer


@pytest.mark.parametrize("value", [-2.0, 0.7, 2.0])
def test_penalties_count_the_answer_alone(bench: Bench, tiny_model: Path, value: float) -> None:
    reference = Reference(tiny_model)

    def presence(logits: Logits, answer: list[int]) -> None:
        logits[sorted(set(answer))] -= value

    def frequency(logits: Logits, answer: list[int]) -> None:
        np.subtract.at(logits, answer, value)

    bench.add(1, "la la la", presence_penalty=value)
    bench.add(2, "la la la", frequency_penalty=value)
    bench.add(3, "la la la")
    found = bench.finish()
    assert found[1] == reference.greedy("la la la", presence)
    assert found[2] == reference.greedy("la la la", frequency)
    assert found[3] == reference.greedy("la la la", lambda *_: None)
    if value > 0:
        assert found[3] not in (found[1], found[2]), "the penalties change nothing"


def test_biases_forbid_and_force_tokens(bench: Bench) -> None:
    first = bench.alone("biased")[0]
    bench.add(1, "biased", logit_bias={first: -100})
    bench.add(2, "biased", logit_bias={77: 100})
    found = bench.finish()
    assert first not in found[1]
    assert found[2] == [77] * 12


def test_likelihoods_are_those_of_the_model(bench: Bench, tiny_model: Path) -> None:
    reference = Reference(tiny_model)
    prompt, plain = "how likely", "neighbour"
    bench.add(1, prompt, logprobs=True, top_logprobs=5, temperature=1.5, seed=3)
    bench.add(2, plain)
    bench.add(3, prompt, logprobs=True, logit_bias={77: 5})
    bench.finish()
    tokens_told = [outcome for outcome in bench.outcomes if isinstance(outcome, Token)]
    told = {n: [t for t in tokens_told if t.request == n] for n in (1, 2, 3)}
    assert all(token.likelihood is None for token in told[2])
    for number, bias in ((1, 0.0), (3, 5.0)):
        tokens = reference.tokenizer.encode(prompt, add_special_tokens=False)
        for token in told[number]:
            if not token.visible:
                continue
            logits = reference.logits(tokens)
            logits[77] += bias
            logprobs = logits - np.logaddexp.reduce(logits)
            assert token.likelihood is not None
            assert token.likelihood.logprob == pytest.approx(logprobs[token.token], abs=1e-3)
            best = np.sort(logprobs)[::-1][: 5 if number == 1 else 0]
            assert [v for _, v in token.likelihood.top] == pytest.approx(best, abs=1e-3)
            tokens.append(token.token)


@pytest.mark.parametrize("kind", ["ia3", "full"])
def test_what_another_method_trained_is_refused_by_name(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"fine_tune_type": kind}))
    (tmp_path / "adapters.safetensors").write_bytes(b"")
    for _ in range(3):  # more often than there are slots
        with pytest.raises(FailedPrecondition, match=f"method {kind}") as caught:
            bench.adapters.acquire(digest_of(hash_folder(tmp_path)), str(tmp_path))
        assert caught.value.reason == "VERSION_NOT_READY"
