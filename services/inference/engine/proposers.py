"""Who guesses a row's next tokens, and whether that pays; what its own text says costs nothing."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

type Text = npt.NDArray[np.int32]

MATCH = 2
"""Tokens that must stand alike for a guess, beside the one that is drawn but not yet given."""
SHORTEST, LONGEST = 4, 16
"""Tokens of a guess: a pass over 16 costs a CPU twice one over 1, and one over 4 half of that."""


class Payoff:
    """Whether drafting pays: a small credit of plain steps that guesses win or lose."""

    START, MOST = 1.5, 4.0
    FIRST_REST, LONGEST_REST = 8, 256

    def __init__(self) -> None:
        """Start with credit for about three guesses that fail."""
        self._credit = self.START
        self._rest = 0
        self._next_rest = self.FIRST_REST

    def resting(self) -> bool:
        """Tell whether this step goes without a guess; each answer brings the next try nearer."""
        self._rest = max(0, self._rest - 1)
        return self._rest > 0

    def book(self, tokens: int, steps: float) -> None:
        """Note that a pass which took as long as so many plain steps gave so many tokens."""
        self._credit = min(self._credit + tokens - steps, self.MOST)
        if tokens > steps:
            self._next_rest = self.FIRST_REST
        if self._credit < 0:
            self._credit = self.START
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, self.LONGEST_REST)


class Tally:
    """How a proposer's guesses have fared: whether to guess, and how much."""

    def __init__(self) -> None:
        """Begin with short guesses."""
        self.payoff = Payoff()
        self.length = SHORTEST

    def book(self, guessed: int, accepted: int) -> None:
        """Note a checked guess; the next is longer after a full success, else as long as held."""
        wanted = 2 * guessed if accepted == guessed else accepted + 1
        self.length = min(max(wanted, SHORTEST), LONGEST)


class Proposer(Protocol):
    """Guesses how a text goes on."""

    name: str
    """Of the draft model; empty for the text itself."""
    tally: Tally

    def ready(self, text: Text, left: int) -> bool:
        """Tell whether there may be a guess for a row that ends in `left` tokens at the latest.

        Waiting for the token that was drawn behind the text is worth it then.
        """
        ...

    def guess(self, text: Text, drawn: int, count: int) -> list[int]:
        """Guess `count` tokens, of which the first is drawn already; nothing without a guess."""
        ...


class Lookup:
    """Guesses what followed the last tokens where they stood before; of one row."""

    name = ""

    def __init__(self) -> None:
        """Begin before any text."""
        self.tally = Tally()
        self._places = np.zeros(0, np.intp)

    def ready(self, text: Text, left: int) -> bool:
        """Find what stands behind each earlier place where the row's last tokens stood, too."""
        self._places = np.zeros(0, np.intp)
        if text.size > MATCH:
            windows = np.lib.stride_tricks.sliding_window_view(text[:-1], MATCH)
            self._places = np.flatnonzero((windows == text[-MATCH:]).all(axis=1)) + MATCH
        return bool(self._places.size)

    def guess(self, text: Text, drawn: int, count: int) -> list[int]:
        """Guess from the latest of those places that fits, too, what is drawn.

        A text that repeats itself is guessed to go on doing so.
        """
        fitting = self._places[text[self._places] == drawn]
        if not fitting.size:
            return []
        following: list[int] = np.resize(text[fitting[-1] :], count).tolist()
        return following
