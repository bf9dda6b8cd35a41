"""Which tokens are trained, through a real tokenizer and a real chat template."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from services.runtime.encoding import Encoder, RowRefusedError
from services.runtime.rows import Row

CHAT = {
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "häuser?"},
        {"role": "assistant", "content": "yes é"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "no"},
    ]
}


class Tokenizer(PreTrainedTokenizerFast):
    """As mlx-lm wraps it."""

    @property
    def has_chat_template(self) -> bool:
        return self.chat_template is not None


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return Tokenizer.from_pretrained(tiny_model)


def encode(tokenizer: Any, row: dict[str, Any], **options: Any) -> tuple[str, list[str]]:
    """Give the whole text, and the trained pieces of it."""
    encoder = Encoder(tokenizer, **{"mask_prompt": True, "max_length": 500, **options})
    example = encoder.encode(Row(1, b"", row))
    pieces, piece = [], []
    for token, trained in zip(example.tokens, example.trained, strict=True):
        if trained:
            piece.append(int(token))
        elif piece:
            pieces.append(piece)
            piece = []
    pieces += [piece] if piece else []
    return tokenizer.decode(example.tokens), [tokenizer.decode(p) for p in pieces]


def test_every_answer_is_trained_with_its_end_and_nothing_else(tokenizer: Any) -> None:
    text, trained = encode(tokenizer, CHAT)
    assert text.startswith("<|im_start|>system\nbe kind<|im_end|>\n")
    assert trained == ["yes é<|im_end|>\n", "no<|im_end|>\n"]


def test_without_masking_all_is_trained(tokenizer: Any) -> None:
    text, trained = encode(tokenizer, CHAT, mask_prompt=False)
    assert trained == [text]


def test_a_completion_is_a_chat_of_two_turns(tokenizer: Any) -> None:
    text, trained = encode(tokenizer, {"prompt": "q", "completion": "a"})
    assert text.startswith("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n")
    assert trained == ["a<|im_end|>\n"]


def test_a_completion_without_a_template_follows_its_prompt(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    assert encode(tokenizer, {"prompt": "q: ", "completion": "a"}) == (
        "q: a<|im_end|>",
        ["a<|im_end|>"],
    )


def test_text_is_trained_whole_and_ends(tokenizer: Any) -> None:
    assert encode(tokenizer, {"text": "abc"}) == ("abc<|im_end|>", ["abc<|im_end|>"])
    assert encode(tokenizer, {"text": "abc<|im_end|>"})[0] == "abc<|im_end|>"


def test_long_rows_are_cut(tokenizer: Any) -> None:
    assert encode(tokenizer, {"text": "abcdef"}, max_length=4)[0] == "abcd"


def test_rows_that_teach_nothing_are_known_by_their_count(tokenizer: Any) -> None:
    def trained(row: dict[str, Any], length: int = 500) -> tuple[int, int, int]:
        example = Encoder(tokenizer, mask_prompt=True, max_length=length).encode(Row(1, b"", row))
        return example.trained_tokens, len(example.tokens), example.full_length

    full = trained(CHAT)[2]
    assert trained(CHAT, 20) == (0, 20, full)
    assert trained({"messages": CHAT["messages"][:2]})[0] == 0
    assert trained({"prompt": "q" * 600, "completion": "a"})[:2] == (0, 500)
    # The first token of a row is never predicted.
    assert trained({"text": "abc"}) == (3, 4, 4)


def refused(tokenizer: Any, row: dict[str, Any]) -> str:
    with pytest.raises(RowRefusedError) as caught:
        encode(tokenizer, row)
    return str(caught.value)


def test_chats_need_a_template(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    assert "no chat template" in refused(tokenizer, CHAT)


def test_a_template_that_refuses_or_rewrites_is_named(tokenizer: Any) -> None:
    original = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    assert "roles must alternate" in refused(tokenizer, CHAT)
    tokenizer.chat_template = "{{ messages | length }}" + original
    assert "mask_prompt" in refused(tokenizer, CHAT)
