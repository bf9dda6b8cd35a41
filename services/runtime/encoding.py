"""From rows to tokens with a loss mask, through the base model's own tokenizer and template."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from services.runtime.rows import Row

# Of a text row that is to be continued.
OPENING_TOKENS = 64
_MASK_HINT = "set mask_prompt to false, or split the conversation into rows of one answer each"


class RowRefusedError(ValueError):
    """The tokenizer or the chat template refuses a row; the text says why."""


@dataclass(frozen=True)
class Example:
    """One row as the model sees it; `trained` marks the tokens whose loss counts."""

    line: int
    tokens: NDArray[np.int32]
    trained: NDArray[np.bool_]
    full_length: int
    """In tokens, before it was cut."""

    @property
    def trained_tokens(self) -> int:
        """Count what is trained; the first token of a row is never predicted."""
        return int(self.trained[1:].sum())


@dataclass(frozen=True)
class Opening:
    """What a model is given to answer: as people read it, and as it sees it."""

    turns: tuple[tuple[str, str], ...]
    """Pairs of role and content; text that is continued has no role."""
    tokens: list[int]


class Encoder:
    """Encodes chat, completion and text rows as mlx-lm does, but masks every turn that asks.

    Chat and completion rows go through the chat template; with `mask_prompt` only what the
    assistant says is trained, in all of its turns, with the token that ends each. Without a chat
    template a completion follows its prompt directly.
    """

    def __init__(self, tokenizer: Any, *, mask_prompt: bool, max_length: int) -> None:
        self._tokenizer = tokenizer
        # A tokenizer's file may ask for padding and truncation of its own.
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        self._mask_prompt = mask_prompt
        self._max_length = max_length

    def encode(self, row: Row) -> Example:
        """Encode a row and cut it; raises RowRefusedError."""
        try:
            tokens, trained = self._tokens(row.content)
        except (TemplateError, KeyError, TypeError, ValueError) as error:
            raise _refused(error) from error
        cut = slice(0, self._max_length)
        return Example(
            row.line,
            np.array(tokens[cut], np.int32),
            np.array(trained[cut], np.bool_),
            len(tokens),
        )

    def opening(self, row: dict[str, Any]) -> Opening:
        """Give what comes before a row's first answer; of a text, its first half.

        Raises RowRefusedError.
        """
        if "messages" in row:
            turns = [(m["role"], m["content"]) for m in opening_messages(row)]
            return self._asked(turns)
        if "text" in row:
            tokens = list(self._tokenizer.encode(row["text"]))
            tokens = tokens[: max(1, min(len(tokens) // 2, OPENING_TOKENS))]
            return Opening((("", self.decode(tokens)),), tokens)
        return self.question(row["prompt"], is_text=not self._tokenizer.has_chat_template)

    def question(self, prompt: str, *, is_text: bool) -> Opening:
        """Give a prompt as a user's message, or as text to continue; raises RowRefusedError."""
        if is_text or not self._tokenizer.has_chat_template:
            return Opening((("", prompt),), list(self._tokenizer.encode(prompt)))
        return self._asked([("user", prompt)])

    def decode(self, tokens: list[int]) -> str:
        """Give the text of tokens, without the marks of the template."""
        return str(self._backend.decode(tokens, skip_special_tokens=True))

    def _asked(self, turns: list[tuple[str, str]]) -> Opening:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            text = self._render(messages, None, add_generation_prompt=True)
        except (TemplateError, KeyError, TypeError, ValueError) as error:
            raise _refused(error) from error
        return Opening(tuple(turns), self._backend.encode(text, add_special_tokens=False).ids)

    def _tokens(self, row: dict[str, Any]) -> tuple[list[int], list[bool]]:
        if "messages" in row:
            if not self._tokenizer.has_chat_template:
                raise ValueError("the base model has no chat template, so it can't train on chats")
            return self._chat(row["messages"], row.get("tools"))
        if "text" in row:
            return self._plain("", row["text"])
        if not self._tokenizer.has_chat_template:
            return self._plain(row["prompt"], row["completion"])
        turns = [("user", row["prompt"]), ("assistant", row["completion"])]
        return self._chat([{"role": r, "content": c} for r, c in turns], row.get("tools"))

    def _plain(self, prompt: str, text: str) -> tuple[list[int], list[bool]]:
        """Encode text after an untrained prompt, with the tokenizer's own start and an end."""
        before = list(self._tokenizer.encode(prompt)) if prompt else []
        after = list(self._tokenizer.encode(text, add_special_tokens=not before))
        if after[-1:] != [self._tokenizer.eos_token_id]:
            after.append(self._tokenizer.eos_token_id)
        masked = [not self._mask_prompt] * len(before)
        return before + after, masked + [True] * len(after)

    def _chat(self, messages: list[Any], tools: Any) -> tuple[list[int], list[bool]]:
        text = self._render(messages, tools)
        encoding = self._backend.encode(text, add_special_tokens=False)
        if not self._mask_prompt:
            return encoding.ids, [True] * len(encoding.ids)
        spans = self._answers(messages, tools, text)
        trained = [any(a <= start < b for a, b in spans) for start, _ in encoding.offsets]
        return encoding.ids, trained

    def _answers(self, messages: list[Any], tools: Any, text: str) -> list[tuple[int, int]]:
        """Find where each assistant turn lies in the rendered text, its end marker included."""
        spans = []
        for n, message in enumerate(messages):
            if message["role"] == "assistant":
                before = self._render(messages[:n], tools, add_generation_prompt=True)
                after = self._render(messages[: n + 1], tools)
                if not text.startswith(after) or not after.startswith(before):
                    raise ValueError(f"the chat template rewrites earlier turns; {_MASK_HINT}")
                spans.append((len(before), len(after)))
        return spans

    def _render(
        self, messages: list[Any], tools: Any, *, add_generation_prompt: bool = False
    ) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages,
                tools=tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        )


def opening_messages(row: dict[str, Any]) -> list[dict[str, str]]:
    """Give a chat's messages before the assistant's first; of a row as the registry takes it."""
    messages: list[dict[str, str]] = row["messages"]
    return list(takewhile(lambda message: message["role"] != "assistant", messages))


def _refused(error: Exception) -> RowRefusedError:
    return RowRefusedError(" ".join(str(error).split())[:200])
