"""From a request to tokens, and what is refused on the way."""

import queue
from typing import Any

import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import tools_pb2
from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import Invalid
from services.inference.engine.adapters.files import Reader
from services.inference.engine.events import Cancel, Failed, Job, Opened, Outcome, Work
from services.inference.engine.prompt import PromptDesk, Prompts, Submitted


class Unbounded:
    """Answers are held to nothing."""

    def matcher_of(self, _: pb.GenerateRequest) -> None:
        return None

    def reader_of(self, _: pb.GenerateRequest) -> None:
        return None


class LetterTokenizer:
    """One token a letter; renders messages as lines."""

    bos_token: str | None = "^"
    has_chat_template = True
    has_tool_calling = False
    chat_template: str | None = None
    refuses: str = ""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(c) for c in ("^" if add_special_tokens else "") + text]

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        if self.refuses:
            raise ValueError(self.refuses)
        return "".join(f"{t['role']}:{t['content']}\n" for t in turns) + "assistant:"


@pytest.fixture
def tokenizer() -> LetterTokenizer:
    return LetterTokenizer()


@pytest.fixture
def prompts(tokenizer: LetterTokenizer) -> Prompts:
    return Prompts(tokenizer, context=100, vocabulary=1000)


def chat(text: str, **fields: Any) -> pb.GenerateRequest:
    message = pb.ChatMessage(role="user", content=text)
    return pb.GenerateRequest(messages=[message], max_tokens=fields.pop("max_tokens", 1), **fields)


def text_of(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def refusal(prompts: Prompts, request: pb.GenerateRequest) -> Invalid:
    with pytest.raises(Invalid) as caught:
        prompts.tokens_of(request)
    return caught.value


def test_messages_are_rendered_and_a_prompt_is_not(prompts: Prompts) -> None:
    assert text_of(prompts.tokens_of(chat("hi"))) == "user:hi\nassistant:"
    assert text_of(prompts.tokens_of(pb.GenerateRequest(prompt="hi", max_tokens=1))) == "^hi"


def test_a_prompt_that_begins_by_itself_gets_no_second_beginning(prompts: Prompts) -> None:
    assert text_of(prompts.tokens_of(pb.GenerateRequest(prompt="^hi", max_tokens=1))) == "^hi"


def test_too_long_a_prompt_is_refused_with_the_numbers(prompts: Prompts) -> None:
    request = pb.GenerateRequest(prompt="x" * 80, max_tokens=19)
    assert len(prompts.tokens_of(request)) == 81
    request.max_tokens = 20
    error = refusal(prompts, request)
    assert error.reason == "PROMPT_TOO_LONG"
    assert error.metadata == {"prompt_tokens": "81", "max_tokens": "20", "context": "100"}


def test_what_no_prompt_makes_right_is_refused_before_tokenising(
    prompts: Prompts, tokenizer: LetterTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "encode", None)
    error = refusal(prompts, pb.GenerateRequest(prompt="x", max_tokens=100))
    assert (error.reason, error.metadata) == (
        "PROMPT_TOO_LONG",
        {"max_tokens": "100", "context": "100"},
    )
    bias = pb.GenerateRequest(prompt="x", max_tokens=1, logit_bias={1000: 1.0})
    assert [v.field for v in refusal(prompts, bias).violations] == ["logit_bias"]


def test_a_prompt_without_tokens_is_refused(prompts: Prompts, tokenizer: LetterTokenizer) -> None:
    tokenizer.bos_token = "x"
    tokenizer.encode = lambda text, *, add_special_tokens: []  # type: ignore[method-assign]
    error = refusal(prompts, pb.GenerateRequest(prompt=" ", max_tokens=1))
    assert (error.reason, error.metadata) == ("PROMPT_REFUSED", {"field": "prompt"})


def test_a_token_beyond_the_models_vocabulary_is_refused(prompts: Prompts) -> None:
    assert refusal(prompts, chat("日")).reason == "PROMPT_REFUSED"


def test_a_template_that_refuses_says_why(prompts: Prompts, tokenizer: LetterTokenizer) -> None:
    tokenizer.refuses = "roles must alternate"
    error = refusal(prompts, chat("hi"))
    assert error.reason == "PROMPT_REFUSED"
    assert "roles must alternate" in error.message
    assert [v.field for v in error.violations] == ["messages"]


def test_without_a_template_messages_are_refused(
    prompts: Prompts, tokenizer: LetterTokenizer
) -> None:
    tokenizer.has_chat_template = False
    assert "send prompt instead" in refusal(prompts, chat("hi")).message


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [tools_pb2.Tool(name="f")]}, "tools"),
        ({"messages": [pb.ChatMessage(role="tool", content="4", tool_call_id="c")]}, "messages"),
    ],
)
@pytest.mark.parametrize("has_parser", [False, True])
def test_tools_are_refused_where_the_template_knows_none(
    prompts: Prompts,
    tokenizer: LetterTokenizer,
    fields: dict[str, Any],
    field: str,
    has_parser: bool,
) -> None:
    tokenizer.has_tool_calling, tokenizer.chat_template = has_parser, "{{ messages }}"
    request = chat("hi")
    request.MergeFrom(pb.GenerateRequest(**fields))
    error = refusal(prompts, request)
    assert (error.reason, error.metadata) == ("TOOLS_UNSUPPORTED", {"field": field})


def test_an_endless_rendering_is_refused(
    prompts: Prompts, tokenizer: LetterTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.engine.prompt.MAX_RENDERED_CHARACTERS", 10)
    assert "too large" in refusal(prompts, chat("hello")).message


def test_the_desk_refuses_one_and_goes_on_with_the_next(prompts: Prompts) -> None:
    submitted: queue.SimpleQueue[Submitted] = queue.SimpleQueue()
    work: list[Work] = []
    outcomes: list[Outcome] = []
    outputs: Any = Unbounded()
    reader = Reader(lambda adapter: False, max_bytes=1, ahead_bytes=1)
    desk = PromptDesk(submitted, prompts, work.append, outcomes.append, outputs, reader)
    for number, prompt in enumerate(("x" * 200, "fine"), 1):
        generate = pb.GenerateRequest(prompt=prompt, max_tokens=5, stop=["."])
        submitted.put(engine_pb2.SubmitCommand(request=number, generate=generate))
    submitted.put(engine_pb2.SubmitCommand(request=3, adapter="a", adapter_path="/nowhere"))
    submitted.put(Cancel(2))
    desk.drain()
    assert isinstance(outcomes[0], Failed)
    assert (outcomes[0].request, outcomes[0].error.reason) == (1, "PROMPT_TOO_LONG")
    assert outcomes[1] == Opened(2, 5, (".",))
    assert isinstance(work[0], Job)
    assert (work[0].request, len(work[0].tokens)) == (2, 5)
    assert work[-1] == Cancel(2)
