"""From tokens to text: stop strings, UTF-8 across tokens, requests that are over."""

from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.internal.v1 import engine_pb2
from tokenizers import Tokenizer, decoders, models

from services.chassis.errors import Internal
from services.inference.engine import text
from services.inference.engine.events import (
    Cancel,
    Closed,
    Ended,
    Failed,
    Likelihood,
    Opened,
    Token,
)
from services.inference.engine.text import StopBuffer, Writer
from services.inference.inbox import MAX_UNREAD_BYTES

few_letters = st.text(alphabet="ab ", max_size=30)
stops = st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), min_size=1, max_size=3)


def reference(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """Read letter by letter: the first stop string completed ends it, the longest where several."""
    for end in range(1, len(text) + 1):
        found = [s for s in stop if text[:end].endswith(s)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(few_letters, stops, st.data())
def test_stop_strings_are_cut_whatever_the_tokens_are(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    expected, stopped = reference(text, tuple(stop))
    buffer, shown, rest = StopBuffer(tuple(stop)), "", text
    while rest and not buffer.stopped:
        size = data.draw(st.integers(1, len(rest)))
        shown += buffer.push(rest[:size])
        rest = rest[size:]
        assert expected.startswith(shown), "a part of a stop string was shown"
    assert buffer.stopped is stopped
    if stopped:
        assert shown == expected
    else:
        held = buffer.flush()
        assert shown + held == text
        assert not held or any(s.startswith(held) for s in stop), "held back for no reason"


class Desk:
    """A writer without its thread, and what it sent."""

    def __init__(self, folder: Path) -> None:
        self.sent: list[engine_pb2.EngineEvent] = []
        self.cancelled: list[int] = []
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.writer = Writer(folder / "tokenizer.json", self.send, self.cancel)

    def send(self, message: Message) -> None:
        assert isinstance(message, engine_pb2.EngineEvent)
        self.sent.append(message)

    def cancel(self, cancel: Cancel) -> None:
        self.cancelled.append(cancel.request)

    def say(self, text: str, request: int = 1) -> None:
        for token in self.tokenizer.encode(text).ids:
            self.writer.handle(Token(request, token, ttft_ms=5))

    @property
    def text(self) -> str:
        return "".join(e.delta.text for e in self.sent if e.HasField("delta"))

    @property
    def finished(self) -> engine_pb2.EngineFinished:
        assert self.sent[-1].HasField("finished")
        return self.sent[-1].finished


@pytest.fixture
def desk(tiny_model: Path) -> Desk:
    return Desk(tiny_model)


def test_likelihoods_come_with_the_text_of_their_tokens(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ("xEND",)))
    euro, (x,) = desk.tokenizer.encode("€").ids, desk.tokenizer.encode("x").ids
    for token in (*euro, x):
        likely = Likelihood(-0.5, ((token, -0.5), (2, -1.5)))
        desk.writer.handle(Token(1, token, 5, likelihood=likely))
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_LENGTH))
    deltas = [e.delta for e in desk.sent if e.HasField("delta")]
    assert [(d.text, len(d.logprobs)) for d in deltas] == [("€", 3), ("x", 1)]
    told = [entry for delta in deltas for entry in delta.logprobs]
    assert b"".join(entry.token.bytes for entry in told) == "€x".encode()
    assert [entry.token.text for entry in told] == ["\ufffd"] * 3 + ["x"]
    assert [(t.text, t.bytes, t.logprob) for t in told[3].top] == [
        ("x", b"x", -0.5),
        ("<|im_end|>", b"", -1.5),
    ]


def test_likelihoods_without_text_still_come(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ()))
    first = desk.tokenizer.encode("€").ids[0]
    desk.writer.handle(Token(1, first, 5, likelihood=Likelihood(-0.5)))
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_LENGTH))
    assert [len(e.delta.logprobs) for e in desk.sent] == [1, 0]
    assert desk.sent[-1].HasField("finished")


@pytest.mark.parametrize("whole", [False, True])
def test_likelihoods_whose_text_is_held_back_come_in_small_pieces(desk: Desk, whole: bool) -> None:
    desk.writer.handle(Opened(1, 1, ("\x00" * 99,), whole=whole))
    top = tuple((token, -0.5) for token in range(20))
    for _ in range(3000):  # as many as one answer may have
        desk.writer.handle(Token(1, 0, 5, likelihood=Likelihood(-0.5, top)))
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_LENGTH))
    deltas = [event.delta for event in desk.sent if event.HasField("delta")]
    assert sum(len(delta.logprobs) for delta in deltas) == 3000
    assert max(delta.ByteSize() for delta in deltas) < MAX_UNREAD_BYTES / 10


def byte_fallback(folder: Path) -> Path:
    """Write a tokenizer as Llama 2's, Gemma's and Mistral's: bytes are tokens of their own."""
    letters = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", "a", "b", "▁the"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    steps = decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_bytes_that_are_no_letter_behind_one_show_as_such(tmp_path: Path) -> None:
    desk = Desk(byte_fallback(tmp_path))
    desk.writer.handle(Opened(1, 1, ()))
    known = desk.tokenizer.get_vocab()
    cut = [*"🙂".encode(), *"é".encode()[:1]]
    for token in (known["▁the"], *cut, known["a"], known["▁the"], *"é".encode(), known["b"]):
        desk.writer.outcomes.put(Token(1, token, ttft_ms=1))
    desk.writer.drain()
    assert desk.text == "the🙂\ufffda theéb"


def test_letters_of_several_tokens_come_whole(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 9, ()))
    desk.say("héllo 日本 🙂!")
    assert all("\ufffd" not in e.delta.text for e in desk.sent)
    assert desk.text == "héllo 日本 🙂!"
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_LENGTH))
    assert desk.finished.tokens == len("héllo 日本 🙂!".encode())
    assert (desk.finished.prompt_tokens, desk.finished.ttft_ms) == (9, 5)
    assert desk.finished.finish_reason == completion_pb.FINISH_REASON_LENGTH


def test_an_answer_that_nobody_reads_before_its_end_comes_in_few_pieces(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    desk.writer.handle(Opened(1, 1, (), whole=True))
    desk.writer.handle(Token(1, desk.tokenizer.encode("a").ids[0], 5, likelihood=Likelihood(-1)))
    assert desk.text == "a", "the first piece tells that the prompt is read"
    for token in desk.tokenizer.encode("bcd").ids:
        desk.writer.handle(Token(1, token, 5, likelihood=Likelihood(-2)))
    assert desk.text == "a"
    now += text.WHOLE_SECONDS
    desk.say("e")
    desk.say("fg")
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_LENGTH))
    deltas = [event.delta for event in desk.sent if event.HasField("delta")]
    assert [(d.text, d.tokens, len(d.logprobs)) for d in deltas] == [
        ("a", 1, 1),
        ("bcde", 5, 3),
        ("fg", 7, 0),
    ]
    assert desk.finished.tokens == 7


def test_a_first_space_is_kept(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ()))
    desk.say(" Paris")
    assert desk.text == " Paris"


def test_a_stop_string_over_several_tokens_ends_the_row(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ("END",)))
    desk.say("one EN two EN")
    assert desk.text == "one EN two "
    desk.say("D and more")
    assert desk.text == "one EN two "
    assert desk.cancelled == [1]
    assert desk.finished.finish_reason == completion_pb.FINISH_REASON_STOP
    assert desk.finished.tokens == len("one EN two END")


def test_text_held_back_for_a_stop_string_that_never_came_is_shown(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ("END",)))
    desk.say("one EN")
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_LENGTH))
    assert desk.text == "one EN"


def test_the_token_that_ends_the_text_is_counted_and_not_shown(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ()))
    desk.say("a")
    desk.writer.handle(Token(1, 2, ttft_ms=5, visible=False))
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_STOP))
    assert (desk.text, desk.finished.tokens) == ("a", 2)


def test_what_comes_after_the_end_is_dropped(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ()))
    desk.writer.handle(Closed(1))
    desk.say("late")
    desk.writer.handle(Ended(1, completion_pb.FINISH_REASON_STOP))
    assert desk.sent == []


def test_requests_do_not_mix(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ()))
    desk.writer.handle(Opened(2, 1, ()))
    euro = desk.tokenizer.encode("€").ids
    desk.writer.handle(Token(1, euro[0], ttft_ms=1))
    desk.say("x", request=2)
    desk.writer.handle(Token(1, euro[1], ttft_ms=1))
    desk.writer.handle(Token(1, euro[2], ttft_ms=1))
    assert [(e.delta.request, e.delta.text) for e in desk.sent] == [(2, "x"), (1, "€")]


def test_a_failure_carries_its_reason(desk: Desk) -> None:
    desk.writer.handle(Opened(3, 1, ()))
    desk.writer.handle(Failed(3, Internal("GENERATION_FAILED", "why", metadata={"a": "b"})))
    [event] = desk.sent
    assert (event.failed.request, event.failed.reason) == (3, "GENERATION_FAILED")
    assert dict(event.failed.metadata) == {"a": "b"}


def test_a_token_nobody_knows_fails_its_request_alone(desk: Desk) -> None:
    desk.writer.handle(Opened(1, 1, ()))
    desk.writer.handle(Opened(2, 1, ()))
    desk.writer.outcomes.put(Token(1, -1, ttft_ms=1))
    desk.writer.outcomes.put(Closed(99))
    desk.writer.drain()
    assert [e.failed.request for e in desk.sent] == [1]
    assert desk.cancelled == [1]
    desk.say("fine", request=2)
    assert desk.text == "fine"
