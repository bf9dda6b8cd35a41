"""Single tokens as people and programs read them."""

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from tokenizers import Tokenizer, pre_tokenizers

from services.inference.engine.events import Likelihood

_REPLACEMENT = "\ufffd"


def _byte_alphabet() -> dict[str, int]:
    """Give the byte behind each letter of byte-level vocabularies, in GPT-2's order.

    Printable bytes stand for themselves; the others follow from U+0100 on, in rising order.
    """
    letters = {letter: ord(letter) for letter in pre_tokenizers.ByteLevel.alphabet()}
    plain = {letter: code for letter, code in letters.items() if code < 256}
    rest = (byte for byte in range(256) if byte not in plain.values())
    shifted = sorted(letter for letter, code in letters.items() if code >= 256)
    return plain | dict(zip(shifted, rest, strict=True))


_BYTES = _byte_alphabet()


class Vocabulary:
    """What a model's tokens add to a text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Take the model's tokenizer."""
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._special = {number for number, token in added.items() if token.special}

    def logprob(self, token: int, likelihood: Likelihood) -> completion_pb.TokenLogprob:
        """Describe a token, and the likeliest in its place."""
        top = [self._describe(number, value) for number, value in likelihood.top]
        return completion_pb.TokenLogprob(token=self._describe(token, likelihood.logprob), top=top)

    def _describe(self, token: int, logprob: float) -> completion_pb.LikelyToken:
        # A padded vocabulary has more logits than tokens.
        name = self._tokenizer.id_to_token(token) or ""
        added = b"" if token in self._special else self._bytes_of(token, name)
        text = added.decode(errors="replace") if added else name
        return completion_pb.LikelyToken(id=token, text=text, bytes=added, logprob=logprob)

    def _bytes_of(self, token: int, name: str) -> bytes:
        """Give a token's bytes, also where they are part of a character."""
        text = self._tokenizer.decode([token], skip_special_tokens=False)
        if _REPLACEMENT not in text:
            return text.encode()
        if name.startswith("<0x") and len(name) == len("<0xFF>"):
            return bytes.fromhex(name[3:5])
        if all(letter in _BYTES for letter in name):
            return bytes(_BYTES[letter] for letter in name)
        return text.encode()
