"""From tokens to text: incremental, safe across UTF-8 and stop strings; writes every frame.

Runs on a thread of its own, so that a slow reader of the socket never stalls the batch.
"""

import logging
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.internal.v1 import engine_pb2
from tokenizers import Tokenizer

from services.chassis.errors import HubError
from services.inference.engine.decoder import Decoder
from services.inference.engine.events import (
    Cancel,
    Closed,
    Ended,
    Failed,
    Opened,
    Outcome,
    Token,
    generation_failed,
)
from services.inference.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from services.inference.engine.calls import Piece

log = logging.getLogger(__name__)

WHOLE_SECONDS = 0.25
"""Between the pieces of an answer that nobody reads before its end: each costs the service, and so
all others, what a reader's would."""

LIKELY_AT_ONCE = 100
"""Tokens whose likelihoods one piece tells, at most: a call's or a stop string's text may be held
back for thousands, and a piece of those alone would look like a reader who is far behind."""


class StopBuffer:
    """Holds text back while it could still become a stop string, and not a character more."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Watch for these strings."""
        self._stops = stops
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take text and give what is safe to show; the first stop completed ends it all."""
        if not self._stops:
            return text
        self._held += text
        ends = [(at + len(s), at) for s in self._stops if (at := self._held.find(s)) >= 0]
        if ends:
            self.stopped = True
            safe, self._held = self._held[: min(ends)[1]], ""
            return safe
        keep = max(self._overlap(stop) for stop in self._stops)
        cut = len(self._held) - keep
        safe, self._held = self._held[:cut], self._held[cut:]
        return safe

    def flush(self) -> str:
        """Give what was held back for a stop string that never came."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


class Stream:
    """One request's text so far."""

    def __init__(self, opened: Opened, tokenizer: Tokenizer) -> None:
        """Start empty."""
        # Models write calls between special tokens, which are no part of other answers' texts.
        self.decoder = Decoder(tokenizer, special=opened.calls is not None)
        self.calls = opened.calls
        self.called = False
        self.stop = StopBuffer(opened.stops)
        self.prompt_tokens = opened.prompt_tokens
        self.tokens = 0
        self.ttft_ms = self.wait_ms = 0.0
        self.first = 0.0
        """`time.monotonic()` of its first token."""
        self.cached_tokens = self.drafted = self.accepted = 0
        self.draft_model = ""
        self.logprobs: list[completion_pb.TokenLogprob] = []
        """Of the tokens since the last delta."""
        self.pause = WHOLE_SECONDS if opened.whole else 0.0
        self.held, self.held_until = "", 0.0
        """Text that is not due before this `time.monotonic()`."""


class Writer:
    """The thread that makes text of tokens and sends frames to the service."""

    def __init__(
        self,
        tokenizer_file: Path,
        send: Callable[[Message], None],
        cancel: Callable[[Cancel], None],
    ) -> None:
        """Take the tokenizer's file, the way to the service, and the way to end a row."""
        self.outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._vocabulary = Vocabulary(self._tokenizer)
        self._send = send
        self._cancel = cancel
        self._streams: dict[int, Stream] = {}

    def run(self) -> None:
        """Write for ever; ends when the service has gone."""
        try:
            while True:
                self._one(self.outcomes.get())
        except OSError as error:
            log.info("nobody reads what the engine writes: %s", error)

    def drain(self) -> None:
        """Write what is there."""
        while not self.outcomes.empty():
            self._one(self.outcomes.get())

    def _one(self, outcome: Outcome) -> None:
        try:
            self.handle(outcome)
        except OSError:
            raise
        except BaseException as error:  # the decoder is Rust, whose panics are no Exceptions
            log.error("writing text failed", exc_info=error)
            self._give_up(outcome)

    def handle(self, outcome: Outcome) -> None:
        """Send what an outcome means; outcomes of a request that is over are dropped."""
        match outcome:
            case Opened():
                self._streams[outcome.request] = Stream(outcome, self._tokenizer)
            case Token():
                self._token(outcome)
            case Ended():
                self._ended(outcome)
            case Closed():
                self._streams.pop(outcome.request, None)
            case Failed():
                self._streams.pop(outcome.request, None)
                self._send(failed_frame(outcome.request, outcome.error))
            case engine_pb2.EngineStats():
                self._send(engine_pb2.EngineEvent(stats=outcome))
            case engine_pb2.CacheCleared():
                self._send(engine_pb2.EngineEvent(cache_cleared=outcome))

    def _token(self, event: Token) -> None:
        stream = self._streams.get(event.request)
        if stream is None:
            return
        stream.tokens += 1
        stream.first = stream.first or time.monotonic()
        stream.wait_ms = event.wait_ms
        stream.ttft_ms = stream.ttft_ms or event.ttft_ms
        stream.drafted, stream.accepted = event.drafted, event.accepted
        stream.draft_model = event.draft_model
        stream.cached_tokens = event.cached_tokens
        if not event.visible:
            return
        if event.likelihood:
            stream.logprobs.append(self._vocabulary.logprob(event.token, event.likelihood))
        self._delta(event.request, stream, stream.stop.push(stream.decoder.step(event.token)))
        if len(stream.logprobs) >= LIKELY_AT_ONCE:
            self._flush(event.request, stream)
        if stream.stop.stopped:
            self._cancel(Cancel(event.request))
            self._finish(event.request, completion_pb.FINISH_REASON_STOP)

    def _ended(self, event: Ended) -> None:
        stream = self._streams.get(event.request)
        if stream is not None:
            self._delta(event.request, stream, stream.stop.flush())
            self._finish(event.request, event.reason)

    def _delta(self, request: int, stream: Stream, text: str) -> None:
        if stream.calls:
            self._pieces(request, stream, stream.calls.push(text))
        elif text:
            self._send_delta(request, stream, text)

    def _pieces(self, request: int, stream: Stream, pieces: "list[Piece]") -> None:
        for piece in pieces:
            if isinstance(piece, str):
                self._send_delta(request, stream, piece)
                continue
            stream.called = True
            call = engine_pb2.EngineToolCall(request=request, call=piece, tokens=stream.tokens)
            self._send(engine_pb2.EngineEvent(tool_call=call))

    def _send_delta(self, request: int, stream: Stream, text: str) -> None:
        stream.held += text
        if (now := time.monotonic()) < stream.held_until:
            return
        stream.held_until = now + stream.pause
        delta = engine_pb2.EngineDelta(
            request=request, text=stream.held, tokens=stream.tokens, logprobs=stream.logprobs
        )
        stream.held, stream.logprobs = "", []
        self._send(engine_pb2.EngineEvent(delta=delta))

    def _flush(self, request: int, stream: Stream) -> None:
        """Send what is held for a piece, and likelihoods whose text is held back or is none."""
        stream.held_until = 0.0
        if stream.held or stream.logprobs:
            self._send_delta(request, stream, "")

    def _finish(self, request: int, reason: completion_pb.FinishReason.ValueType) -> None:
        stream = self._streams.pop(request)
        if stream.calls:
            self._pieces(request, stream, stream.calls.flush())
        if stream.called and reason == completion_pb.FINISH_REASON_STOP:
            reason = completion_pb.FINISH_REASON_TOOL_CALLS
        self._flush(request, stream)
        finished = engine_pb2.EngineFinished(
            request=request,
            finish_reason=reason,
            tokens=stream.tokens,
            prompt_tokens=stream.prompt_tokens,
            cached_tokens=stream.cached_tokens,
            ttft_ms=stream.ttft_ms,
            wait_ms=stream.wait_ms,
            decode_ms=(time.monotonic() - stream.first) * 1000 if stream.first else 0.0,
            drafted_tokens=stream.drafted,
            accepted_tokens=stream.accepted,
            draft_model=stream.draft_model,
        )
        self._send(engine_pb2.EngineEvent(finished=finished))

    def _give_up(self, outcome: Outcome) -> None:
        if isinstance(outcome, engine_pb2.EngineStats | engine_pb2.CacheCleared):
            return
        self._cancel(Cancel(outcome.request))
        if self._streams.pop(outcome.request, None):
            self._send(failed_frame(outcome.request, generation_failed()))


def failed_frame(request: int, error: HubError) -> engine_pb2.EngineEvent:
    """Pack an error; request 0 is the engine itself."""
    failed = engine_pb2.EngineFailed(
        request=request, reason=error.reason, message=error.message, metadata=error.metadata
    )
    return engine_pb2.EngineEvent(failed=failed)
