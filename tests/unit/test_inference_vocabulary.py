"""What single tokens add to a text, in both kinds of vocabularies that know bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models

from services.inference.engine.events import Likelihood
from services.inference.engine.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_model / "tokenizer.json"))


def described(tokenizer: Tokenizer, token: int) -> tuple[str, bytes]:
    found = Vocabulary(tokenizer).logprob(token, Likelihood(-1)).token
    return found.text, found.bytes


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_bytes_of_tokens_make_the_text(tiny: Tokenizer, text: str) -> None:
    found = Vocabulary(tiny)
    ids = tiny.encode(text, add_special_tokens=False).ids
    parts = [found.logprob(token, Likelihood(0)).token.bytes for token in ids]
    assert b"".join(parts) == text.encode()


def test_special_and_unknown_tokens_have_a_name_at_most(tiny: Tokenizer) -> None:
    assert described(tiny, 2) == ("<|im_end|>", b"")
    assert described(tiny, 10**6) == ("", b"")


def test_bytes_behind_a_fallback_vocabulary() -> None:
    names = ["<unk>", "<0xE2>", "<0x82>", "<0xAC>", "▁hi", "é"]
    tokenizer = Tokenizer(
        models.BPE({n: i for i, n in enumerate(names)}, [], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    assert b"".join(described(tokenizer, n)[1] for n in (1, 2, 3)) == "€".encode()
    assert described(tokenizer, 4) == (" hi", b" hi")
    assert described(tokenizer, 5) == ("é", "é".encode())
