"""What a model is given to answer: the rows' own beginnings, as the engine would render them."""

from pathlib import Path
from typing import Any

import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb

from services.inference.engine.prompt import Prompts
from services.runtime.encoding import OPENING_TOKENS, Encoder, RowRefusedError
from services.runtime.rows import Row, Side
from services.trainer.worker.openings import OPENING_BYTES, Openings
from tests.fixtures.rows import chat
from tests.unit.test_runtime_encoding import CHAT, Tokenizer


@pytest.fixture
def encoder(tiny_model: Path) -> Encoder:
    tokenizer = Tokenizer.from_pretrained(tiny_model)
    return Encoder(tokenizer, mask_prompt=True, max_length=500)


def test_a_chat_is_opened_up_to_its_first_answer(encoder: Encoder, tiny_model: Path) -> None:
    opening = encoder.opening(CHAT)
    assert opening.turns == (("system", "be kind"), ("user", "häuser?"))
    engine = Prompts(Tokenizer.from_pretrained(tiny_model), 500, 300)
    messages = [pb.ChatMessage(role=role, content=content) for role, content in opening.turns]
    asked = pb.GenerateRequest(model_id=1, messages=messages, max_tokens=8)
    assert opening.tokens == engine.tokens_of(asked)


def test_a_prompt_is_a_users_message(encoder: Encoder) -> None:
    row = {"prompt": "häuser?", "completion": "yes"}
    asked = encoder.question("häuser?", is_text=False)
    assert encoder.opening(row) == encoder.opening(chat("häuser?", "x")) == asked
    assert asked.turns == (("user", "häuser?"),)


def test_a_text_is_opened_by_its_first_half(encoder: Encoder) -> None:
    assert encoder.opening({"text": "abcdef"}).turns == (("", "abc"),)
    assert encoder.opening({"text": "a"}).turns == (("", "a"),)
    assert len(encoder.opening({"text": "a" * 999}).tokens) == OPENING_TOKENS
    continued = encoder.question("abc", is_text=True)
    assert continued == encoder.opening({"text": "abcdef"})


def test_without_a_template_a_prompt_is_text(tiny_model: Path) -> None:
    tokenizer: Any = Tokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    bare = Encoder(tokenizer, mask_prompt=True, max_length=500)
    assert bare.opening({"prompt": "abc", "completion": "x"}).turns == (("", "abc"),)


def test_a_template_that_refuses_says_why(tiny_model: Path) -> None:
    tokenizer: Any = Tokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('no user here') }}"
    strict = Encoder(tokenizer, mask_prompt=True, max_length=500)
    with pytest.raises(RowRefusedError, match="no user here"):
        strict.question("abc", is_text=False)


def rows(count: int) -> list[Row]:
    return [Row(n, f"{n}".encode(), chat(f"say {n}", "ok")) for n in range(count)]


def drawn(offered: list[Row], seed: int = 0, side: Side = Side.VALID) -> list[dict[str, Any]]:
    found = Openings(seed, most=3)
    for row in offered:
        found.offer(side, row, whole=True)
    return list(found.of(side))


def test_the_rows_are_drawn_by_seed_in_any_order_and_equal_rows_are_one() -> None:
    some = rows(20)
    assert len(drawn(some)) == 3
    assert drawn(some) == drawn([*reversed(some), *some])
    assert drawn(some) != drawn(some, seed=1)
    assert len(drawn(rows(2) + rows(2))) == 2


def test_rows_that_could_not_be_read_or_asked_are_passed_over() -> None:
    found = Openings(0, most=3)
    [row, other] = rows(2)
    found.offer(Side.VALID, row, whole=False)
    found.offer(Side.TRAIN, row, whole=True)
    long = {"prompt": "é" * (OPENING_BYTES // 2 + 1), "completion": "x"}
    found.offer(Side.VALID, Row(2, b"2", long), whole=True)
    found.offer(Side.VALID, Row(3, b"3", {"messages": CHAT["messages"][2:]}), whole=True)
    assert list(found.of(Side.VALID)) == []
    found.offer(Side.TEST, other, whole=True)
    text = {"text": "a" * 2 * OPENING_BYTES}
    found.offer(Side.TEST, Row(4, b"4", text), whole=True)
    assert {"messages", "text"} == {key for content in found.of(Side.TEST) for key in content}
    nothing = Openings(0, most=0)
    nothing.offer(Side.VALID, row, whole=True)
    assert list(nothing.of(Side.VALID)) == []
