"""From a request to tokens: chat template, tokenizer, and the bounds that hold before a row starts.

Runs on a thread of its own with a tokenizer of its own: making tokens on the thread that
owns MLX would stall every row, and fast tokenizers can't be shared between threads.
"""

import functools
import logging
import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import HubError, Invalid
from services.chassis.logs import trace_id
from services.inference.engine.adapters.files import Reader
from services.inference.engine.events import (
    Cancel,
    Failed,
    Job,
    Opened,
    Outcome,
    Recalled,
    Work,
    generation_failed,
)
from services.inference.engine.tools import ToolFormat, offered, turn_of

if TYPE_CHECKING:
    from services.inference.engine.grammar import Outputs

log = logging.getLogger(__name__)

MAX_RENDERED_CHARACTERS = 4_000_000

type Submitted = engine_pb2.SubmitCommand | Cancel
type Recall = Callable[[str, str, list[int]], tuple[Recalled, ...]]


class Prompts:
    """Turns requests into tokens for one model."""

    def __init__(self, tokenizer: Any, context: int, vocabulary: int) -> None:
        """Take mlx-lm's tokenizer wrapper, the context in tokens and the number of known tokens."""
        self._tokenizer = tokenizer
        self._context = context
        self._vocabulary = vocabulary

    def tokens_of(self, request: pb.GenerateRequest) -> list[int]:
        """Render and encode; raises Invalid with PROMPT_REFUSED or PROMPT_TOO_LONG.

        What no prompt would make right is refused before the work of tokenising.
        """
        if any(token >= self._vocabulary for token in request.logit_bias):
            raise _refused(
                "logit_bias", f"logit_bias names a token beyond this model's {self._vocabulary}"
            )
        if request.max_tokens >= self._context:
            raise self._too_long(request, "at least one token")
        field = "messages" if request.messages else "prompt"
        tokens = self._chat(request) if request.messages else self._plain(request.prompt)
        if not tokens:
            raise _refused(field, f"{field} gives no tokens; send some text")
        if max(tokens) >= self._vocabulary:
            raise _refused(field, f"{field} holds a token that this model does not know")
        if len(tokens) + request.max_tokens > self._context:
            raise self._too_long(request, f"{len(tokens)} tokens", prompt_tokens=len(tokens))
        return tokens

    def _too_long(self, request: pb.GenerateRequest, prompt: str, **counted: int) -> Invalid:
        numbers = {**counted, "max_tokens": request.max_tokens, "context": self._context}
        return Invalid(
            "PROMPT_TOO_LONG",
            f"the prompt has {prompt} and max_tokens is {request.max_tokens}; together they may "
            f"have {self._context} tokens; shorten the prompt or ask for less",
            metadata={name: str(number) for name, number in numbers.items()},
        )

    def _plain(self, prompt: str) -> list[int]:
        bos = self._tokenizer.bos_token
        return self._encode(prompt, special=bos is None or not prompt.startswith(bos))

    def _chat(self, request: pb.GenerateRequest) -> list[int]:
        if not self._tokenizer.has_chat_template:
            raise _refused("messages", "this model has no chat template; send prompt instead")
        turns, tools = [turn_of(message) for message in request.messages], offered(request)
        self._check_tools(request, tools)
        # Templates know a conversation without tools by not being given any.
        options = {"tools": tools} if tools else {}
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **options
            )
        except Exception as error:  # templates raise what they like
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            message = f"the model's chat template refused the messages: {reason}"
            raise _refused("messages", message) from error
        return self._encode(text, special=False)

    def _check_tools(self, request: pb.GenerateRequest, tools: list[dict[str, Any]]) -> None:
        calls = any(message.tool_calls or message.tool_call_id for message in request.messages)
        if (tools or calls) and self._tool_format is None:
            raise Invalid(
                "TOOLS_UNSUPPORTED",
                "this model's chat template knows no tools; send messages without them",
                field="tools" if tools else "messages",
            )

    @functools.cached_property
    def _tool_format(self) -> ToolFormat | None:
        return ToolFormat.of(self._tokenizer)

    def _encode(self, text: str, *, special: bool) -> list[int]:
        if len(text) > MAX_RENDERED_CHARACTERS:
            raise _refused("messages", "the rendered prompt is too large; send fewer messages")
        return list(self._tokenizer.encode(text, add_special_tokens=special))


class PromptDesk:
    """The thread that prepares submitted requests, one after the other."""

    def __init__(
        self,
        submitted: queue.SimpleQueue[Submitted],
        prompts: Prompts,
        to_batch: Callable[[Work], None],
        to_writer: Callable[[Outcome], None],
        outputs: "Outputs",
        reader: Reader,
        recall: Recall = lambda *_: (),
    ) -> None:
        """Take the way in, what prepares, both ways out, and what else a request may need.

        That is what bounds answers, who reads adapters, and the prefix cache's disk.
        """
        self._submitted = submitted
        self._prompts = prompts
        self._to_batch = to_batch
        self._to_writer = to_writer
        self._outputs = outputs
        self._reader = reader
        self._recall = recall

    def run(self) -> None:
        """Prepare for ever."""
        while True:
            self._one(self._submitted.get())

    def drain(self) -> None:
        """Prepare what is there."""
        while not self._submitted.empty():
            self._one(self._submitted.get())

    def _one(self, command: Submitted) -> None:
        if isinstance(command, Cancel):
            # Again behind the job, should it have been overtaken.
            self._to_batch(command)
            return
        try:
            self._prepare(command)
        except HubError as error:
            self._to_writer(Failed(command.request, error))
        except BaseException as error:  # the tokenizer is Rust, whose panics are no Exceptions
            log.error("preparing a request failed", exc_info=error, extra=ids_of(command))
            self._to_writer(Failed(command.request, generation_failed()))

    def _prepare(self, command: engine_pb2.SubmitCommand) -> None:
        tokens = self._prompts.tokens_of(command.generate)
        matcher = self._outputs.matcher_of(command.generate)
        calls = self._outputs.reader_of(command.generate)
        stops = tuple(command.generate.stop)
        now = time.monotonic()
        asked, adapter = command.generate, (command.adapter, command.adapter_path)
        weights = self._reader.weights_of(*adapter)
        self._to_writer(Opened(command.request, len(tokens), stops, calls, command.whole))
        # Here, not in the batch: a file takes milliseconds, in which every row would stand still.
        kept = self._recall(adapter[0], asked.cache_salt, tokens) if asked.cache_prompt else ()
        given = (*adapter, weights, kept, matcher, ids_of(command), command.coming)
        self._to_batch(Job(command.request, asked, tokens, now, *given))


def ids_of(command: engine_pb2.SubmitCommand) -> dict[str, str]:
    """Give what a log's line about a request names it by."""
    return {"request_id": command.request_id, "trace_id": trace_id(command.traceparent)}


def _refused(field: str, message: str) -> Invalid:
    return Invalid("PROMPT_REFUSED", message, field=field)
