"""One answer's tokens as text, as they come."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class Decoder:
    """Gives text once its letters are complete."""

    def __init__(self, tokenizer: Tokenizer, *, special: bool) -> None:
        """Take the model's tokenizer, and whether special tokens are a part of the text."""
        self._tokenizer = tokenizer
        self._skip = not special
        self._stream = DecodeStream(skip_special_tokens=self._skip)
        self._unread: list[int] = []
        """Tokens since the last text."""

    def step(self, token: int) -> str:
        """Take a token and give what is complete; raises what the tokenizer does."""
        self._unread.append(token)
        try:
            text = self._stream.step(self._tokenizer, token)
        except Exception:
            # Where bytes are tokens, a byte that is no letter's makes those right before it
            # unreadable, too, and the stream gives up: they were shown, so it begins behind them.
            text = self._tokenizer.decode(self._unread, skip_special_tokens=self._skip)
            self._stream = DecodeStream(self._unread, self._skip)
        if text:
            self._unread = []
        return text or ""
