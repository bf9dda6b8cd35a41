"""A draft model: a smaller one of the same tokens guesses how a lone row goes on."""

import filecmp
import logging
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_hub.internal.v1 import engine_pb2
from mlx_lm.models.cache import KVCache, make_prompt_cache
from tokenizers import Tokenizer

from services.inference.engine.head import quicken_head
from services.inference.engine.proposers import LONGEST, Tally, Text
from services.inference.engine.sizes import context_of, vocabulary_of
from services.runtime.folder import FolderError
from services.runtime.model import load_base, on_cpu, weight_bytes

log = logging.getLogger(__name__)

WORTH = 8
"""Tokens of a text that are read for each that may still come: a model that is much smaller reads
so many in a part of a step of the one that is served."""


class DraftModel:
    """Proposes what it would say itself; it keeps the keys and values of one text.

    Its tally is of all rows: how near it comes to the served model is the model's own.
    """

    def __init__(self, name: str, model: Any, *, vocabulary: int, room: int, piece: int) -> None:
        """Take a name, a loaded model, the number of tokens that both models know, two bounds.

        They are the tokens of the longest text, and those that are read between two of a row's.
        """
        self.name = name
        self.tally = Tally()
        self._model = model
        self._vocabulary = vocabulary
        self._piece = piece
        self._cache: list[KVCache] = make_prompt_cache(model)
        self._known = np.zeros(room, np.int32)
        """Of these the cache has the keys and values."""
        self._size = 0

    @property
    def failed(self) -> bool:
        """Tell whether it raised once: nobody is asked any more then."""
        return self._model is None

    def ready(self, text: Text, left: int) -> bool:
        """Tell whether the text has room for a guess, and reading what is new of it is worth it."""
        if self.failed or text.size + 1 + LONGEST > self._known.size:
            return False
        return text.size - self._common(text) <= WORTH * left

    def guess(self, text: Text, drawn: int, count: int) -> list[int]:
        """Guess `count` tokens, of which the first is drawn already.

        Gives nothing while the text is still read, a piece each time. A model that fails is given
        up: the row goes on without it, as do all others.
        """
        try:
            return self._guess(np.append(text, np.int32(drawn)), count)
        except Exception as error:
            log.error("the draft model %s failed; it is not asked again", self.name, exc_info=error)
            self._model, self._cache = None, []
            return []

    def warm_up(self) -> None:
        """Read a piece and guess: a GPU compiles kernels for each shape."""
        text = np.zeros(self._piece, np.int32)
        while not self.failed and not self.guess(text, 0, LONGEST + 1):
            pass

    def _guess(self, text: Text, count: int) -> list[int]:
        # The last token is always read: its scores are what is asked for.
        common = self._common(text[:-1])
        for cache in self._cache:
            cache.trim(self._size - common)  # type: ignore[no-untyped-call]
        self._size = common
        unread = text[common : common + self._piece]
        logits = self._read(mx.array(unread[None]))
        self._note(unread)
        if self._size < text.size:
            mx.eval([(cache.keys, cache.values) for cache in self._cache])  # and no scores
            return []
        tokens: list[mx.array] = []
        while len(tokens) + 1 < count:
            if tokens:
                logits = self._read(tokens[-1][None])
            tokens.append(mx.argmax(logits[:, -1, : self._vocabulary], axis=-1))
            mx.async_eval(tokens[-1])  # type: ignore[no-untyped-call]
        guessed: Any = mx.concatenate(tokens).tolist()
        self._note(guessed[:-1])
        return [int(text[-1]), *guessed]

    def _read(self, tokens: mx.array) -> mx.array:
        """Read (1, tokens); one that only the served model has a number for counts as the last."""
        known = mx.minimum(tokens, self._vocabulary - 1)
        logits: mx.array = self._model(known, cache=self._cache)
        return logits

    def _note(self, tokens: Text | list[int]) -> None:
        self._known[self._size : self._size + len(tokens)] = tokens
        self._size += len(tokens)

    def _common(self, text: Text) -> int:
        """Count the first tokens that the text shares with what is known."""
        size = min(self._size, text.size)
        differs = self._known[:size] != text[:size]
        return int(differs.argmax()) if differs.any() else size


def load_draft(
    served: Path, start: engine_pb2.StartCommand, vocabulary: int, piece: int
) -> DraftModel | None:
    """Load the draft model that the service names, if it names one, for the model served here.

    Raises FolderError, which names it, where it can't draft for that one.
    """
    if not start.HasField("draft"):
        return None
    name, path = start.draft.name, Path(start.draft.path)
    if difference := _difference(served / "tokenizer.json", path / "tokenizer.json"):
        raise _unfit(name, difference)
    try:
        model, _, config = load_base(path)
    except FolderError as error:
        raise _unfit(name, str(error)) from error
    if any(type(cache) is not KVCache for cache in make_prompt_cache(model)):
        raise _unfit(name, "its layers decide themselves what they attend to")
    if on_cpu():
        quicken_head(model)
    log.info("%s drafts, with %d bytes of weights", name, weight_bytes(model))
    draft = DraftModel(
        name,
        model,
        vocabulary=min(vocabulary, vocabulary_of(config) or vocabulary),
        room=min(start.kv_tokens, context_of(config) or start.kv_tokens),
        piece=piece,
    )
    draft.warm_up()
    return draft


def _unfit(name: str, why: str) -> FolderError:
    return FolderError(
        f"its draft model {name} can't be used: {why}; name another base model in "
        "MLX_HUB_DRAFT_MODELS, or none"
    )


def _difference(served: Path, draft: Path) -> str:
    """Say in what two tokenizers differ, by their tokens; nothing if they have the same."""
    if filecmp.cmp(served, draft, shallow=False):
        return ""
    ours, theirs = _tokens(served), _tokens(draft)
    different = sorted(ours ^ theirs)
    if not different:
        return ""
    names = {token for token, _, _ in different}
    return f"it has other tokens; {len(names)} differ, such as {different[0][0]!r}"


def _tokens(file: Path) -> set[tuple[str, int, bool]]:
    """Give each token with its number, and whether it is a special one."""
    tokenizer = Tokenizer.from_file(str(file))
    added = tokenizer.get_added_tokens_decoder()
    special = {number for number, token in added.items() if token.special}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return {(token, number, number in special) for token, number in vocabulary.items()}
