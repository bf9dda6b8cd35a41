"""Completions, which continue a text, as OpenAI's JSON."""

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

from services.inference.domain import Answer, Delta, LikelyToken, TokenLogprob
from services.inference.openai_replies import Head

KIND = "text_completion"


class TextReply:
    """A completion's choices."""

    def __init__(self, head: Head, echoed: Sequence[str]) -> None:
        """Take what all pieces share, and the text that each choice's begins with."""
        self._head = head
        self._echoed = echoed
        self._likely = [LikelyTexts() for _ in echoed]

    def begin(self, index: int) -> bytes:
        """Write the first event of a choice."""
        return self._head.event(KIND, [_choice(index, self._echoed[index])])

    def piece(self, index: int, delta: Delta) -> Iterator[bytes]:
        """Write the event of a text."""
        choice = _choice(index, delta.text)
        if delta.logprobs:
            choice["logprobs"] = self._likely[index].read(delta.logprobs)
        yield self._head.event(KIND, [choice])

    def end(self, index: int, answer: Answer) -> bytes:
        """Write the last event of a choice."""
        return self._head.event(KIND, [_choice(index, "", answer.finished.reason)])

    def usage(self, answers: Sequence[Answer]) -> bytes:
        """Write the event that counts the tokens."""
        return self._head.usage(KIND, answers)

    def whole(self, answers: Sequence[Answer]) -> bytes:
        """Write all choices in one piece."""
        choices: list[dict[str, Any]] = []
        for index, answer in enumerate(answers):
            choice = _choice(index, self._echoed[index] + answer.text, answer.finished.reason)
            if answer.logprobs:
                choice["logprobs"] = LikelyTexts().read(answer.logprobs)
            choices.append(choice)
        return self._head.whole(KIND, choices, answers)


class LikelyTexts:
    """How likely a text's tokens were, and where in the text each begins."""

    def __init__(self) -> None:
        """Begin at the first token."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def read(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Tell of the next tokens."""
        offsets: list[int] = []
        for each in logprobs:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(each.token.bytes))
        return {
            "tokens": [_name(each.token) for each in logprobs],
            "token_logprobs": [each.token.logprob for each in logprobs],
            # The token itself is told, too, where it is none of the likeliest.
            "top_logprobs": [
                {_name(token): token.logprob for token in (*each.top, each.token)}
                for each in logprobs
            ],
            "text_offset": offsets,
        }


def _name(token: LikelyToken) -> str:
    """Give a token's text; one that is no whole characters is named by its bytes."""
    try:
        token.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)
    return token.text


def _choice(index: int, text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
