"""A fault in any station of an engine fails one request, and no token of the others is lost.

The stations are the engine's own, on the test's thread: desk, batch and writer, stepped in turns.
"""

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.inference.engine.events import Job, Work
from services.inference.engine.prompt import PromptDesk, Prompts, Submitted
from services.runtime.model import load_base, prepare
from tests.fixtures.tiny_model import VOCABULARY

SEED = 13
POISON: dict[str, Any] = {
    "messages": [pb.ChatMessage(role="user", content="poison")],
    "temperature": 1,
    "seed": SEED,
    "presence_penalty": 0.5,
    "logprobs": True,
    "top_logprobs": 2,
}


class Panic(BaseException):
    """As PyO3's: tokenizers panics with what is no Exception."""


class Stations:
    """The way of a request through the engine."""

    def __init__(self, folder: Path) -> None:
        prepare()
        # They import MLX, which has to be prepared first.
        from services.inference.engine.adapters.files import Reader  # noqa: PLC0415
        from services.inference.engine.adapters.routing import RoutedModel  # noqa: PLC0415
        from services.inference.engine.adapters.slots import Adapters  # noqa: PLC0415
        from services.inference.engine.batch import Batch  # noqa: PLC0415
        from services.inference.engine.grammar import Outputs  # noqa: PLC0415
        from services.inference.engine.pace import BatchLimits  # noqa: PLC0415
        from services.inference.engine.text import Writer  # noqa: PLC0415

        model, self.tokenizer, _ = load_base(folder)
        routed = RoutedModel(model)
        limits = BatchLimits(
            rows=4, kv_tokens=8192, prefill_rows=2, prefill_step=16, prefill_shared=16
        )
        self.sent: list[engine_pb2.EngineEvent] = []
        self.submitted: queue.SimpleQueue[Submitted] = queue.SimpleQueue()
        self.work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.writer = Writer(folder / "tokenizer.json", self.send, self.work.put)
        tell = self.writer.outcomes.put
        prompts = Prompts(self.tokenizer, 2048, len(VOCABULARY))
        adapters = Adapters(routed, limit=2, max_bytes=0)
        outputs = Outputs(folder / "tokenizer.json", {2}, None)
        helpers = outputs, Reader(adapters.resident, 0, 0)
        self.desk = PromptDesk(self.submitted, prompts, self.work.put, tell, *helpers)
        self.batch = Batch(routed, adapters, {2}, limits, tell)

    def send(self, message: Message) -> None:
        assert isinstance(message, engine_pb2.EngineEvent)
        self.sent.append(message)

    def submit(self, request: int, **fields: Any) -> None:
        generate = pb.GenerateRequest(**{"max_tokens": 12, **fields})
        self.submitted.put(engine_pb2.SubmitCommand(request=request, generate=generate))

    def run(self) -> None:
        """Let every station work until all is said."""
        while True:
            self.desk.drain()
            while not self.work.empty():
                work = self.work.get()
                if isinstance(work, Job):
                    self.batch.add(work)
                else:
                    self.batch.cancel(work.request)
            self.batch.step()
            self.writer.drain()
            if not (self.batch.running or self.batch.waiting or not self.work.empty()):
                return

    def told(self, request: int) -> list[engine_pb2.EngineEvent]:
        def of(event: engine_pb2.EngineEvent) -> Any:
            return getattr(event, event.WhichOneof("event") or "")

        return [event for event in self.sent if of(event).request == request]

    def text(self, request: int) -> tuple[str, int]:
        """Give an answer's text and tokens."""
        *deltas, last = self.told(request)
        assert last.HasField("finished"), last
        return "".join(event.delta.text for event in deltas), last.finished.tokens


@pytest.fixture
def stations(tiny_model: Path) -> Stations:
    return Stations(tiny_model)


def failing(real: Callable[..., Any], poisoned: Callable[..., bool], error: BaseException) -> Any:
    """Fail for what is poisoned, the second time too."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if poisoned(*args, **kwargs):
            raise error
        return real(*args, **kwargs)

    return call


def of_seed(request: pb.GenerateRequest, *_: object) -> bool:
    return request.seed == SEED


def poison_tokenizer(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    prompts = s.desk._prompts
    broken = failing(prompts._encode, lambda text, **_: "poison" in text, error)
    patch.setattr(prompts, "_encode", broken)


def poison_template(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    template = "{% if messages[0].content == 'poison' %}{{ 1 / 0 }}{% endif %}"
    s.tokenizer.chat_template = template + s.tokenizer.chat_template


def poison_sampler(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    from services.inference.engine import sampling  # noqa: PLC0415

    patch.setattr(sampling, "sampler_of", failing(sampling.sampler_of, of_seed, error))


def poison_processors(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    from services.inference.engine import sampling  # noqa: PLC0415

    patch.setattr(sampling, "processors_of", failing(sampling.processors_of, of_seed, error))


def poison_grammar(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    outputs = s.desk._outputs
    patch.setattr(outputs, "matcher_of", failing(outputs.matcher_of, of_seed, error))


def poison_likelihood(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    from services.inference.engine import sampling  # noqa: PLC0415

    calls = iter(range(100))
    broken = failing(sampling.likelihood_of, lambda *_: next(calls) >= 3, error)
    patch.setattr(sampling, "likelihood_of", broken)


def poison_detokenizer(s: Stations, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    handle = s.writer._token

    def token(event: Any) -> None:
        stream = s.writer._streams.get(event.request)
        if event.request == 2 and stream and stream.tokens == 3:
            stream.decoder = Broken(error)  # type: ignore[assignment]
        handle(event)

    patch.setattr(s.writer, "_token", token)


class Broken:
    """A decoder that can't decode."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def step(self, *_: object) -> str:
        raise self._error


PLACES = {
    "tokenizer": poison_tokenizer,
    "template": poison_template,
    "sampler": poison_sampler,
    "processors": poison_processors,
    "grammar": poison_grammar,
    "likelihood": poison_likelihood,
    "detokenizer": poison_detokenizer,
}


@pytest.mark.parametrize(
    "error", [RuntimeError("poisoned"), Panic("poisoned")], ids=["error", "panic"]
)
@pytest.mark.parametrize("place", PLACES)
def test_a_fault_in_one_station_fails_its_request_alone(
    stations: Stations, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    good = {1: "good one", 3: "another good one, a bit longer than that", 4: "late"}
    wild = {"temperature": 1.3, "seed": 5, "frequency_penalty": 0.3}
    for number, prompt in good.items():
        stations.submit(number + 10, prompt=prompt, **wild)
        stations.run()
    PLACES[place](stations, monkeypatch, error)
    stations.submit(1, prompt=good[1], **wild)
    stations.submit(2, **POISON)
    stations.submit(3, prompt=good[3], **wild)
    stations.run()
    stations.submit(4, prompt=good[4], **wild)
    stations.run()
    assert {n: stations.text(n) for n in good} == {n: stations.text(n + 10) for n in good}
    *deltas, last = stations.told(2)
    assert last.failed.reason == ("PROMPT_REFUSED" if place == "template" else "GENERATION_FAILED")
    assert all(event.HasField("delta") for event in deltas)
    assert len(deltas) <= 3
    assert "poisoned" not in last.failed.message


def test_an_engine_that_can_compute_nothing_any_more_ends_with_its_requests(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.inference.engine import batch  # noqa: PLC0415

    def broken(*_: object) -> None:
        raise RuntimeError("misaligned address")

    stations.submit(1, prompt="hello")
    monkeypatch.setattr(stations.batch, "_generate", broken)
    monkeypatch.setattr(batch, "expect_sums", broken)
    with pytest.raises(RuntimeError, match="misaligned"):
        stations.run()
    assert stations.told(1) == [], "it was running when the engine ended, which its service tells"
