"""Rows that are all but equal, by MinHash: bounded work, no texts kept, the same every time.

The similarity of two texts is the share of 5-character shingles that both have of those that
either has. A MinHash of two texts agrees with that probability, so the share of 120 that agree
estimates it. Only rows that agree in one of 20 bands of 6 are compared: a pair at the threshold
of 0.8 is with a probability of 1 - (1 - 0.8^6)^20 = 0.998, one at 0.5 with 0.27.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Hashes = NDArray[np.uint64]

THRESHOLD = 0.8
SHINGLE = 5
BANDS, ROWS_IN_BAND = 20, 6
MAX_ROWS = 200_000
MAX_CHARACTERS = 64_000_000
ROW_CHARACTERS = 8192
# Of rows that agree in a band, each is compared with this many that follow it.
MAX_NEIGHBOURS = 50
MAX_CANDIDATES = 2_000_000
_CHUNK = 100_000
_SPACE = re.compile(r"\s+")
_U64 = np.uint64


def _mixed(values: Hashes) -> Hashes:
    """Scatter numbers over 64 bits (splitmix64)."""
    values = (values ^ (values >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> _U64(27))) * _U64(0x94D049BB133111EB)
    return values ^ (values >> _U64(31))


_NUMBERS = _mixed(np.arange(1, 2 * BANDS * ROWS_IN_BAND + 1, dtype=np.uint64))
_FACTORS = (_NUMBERS[::2] | _U64(1))[:, None]
_OFFSETS = _NUMBERS[1::2][:, None]


@dataclass(frozen=True)
class Pair:
    """Two rows by their places, the first before the second."""

    first: int
    second: int
    similarity: float


class NearIndex:
    """Takes in one text after another and finds the pairs that are alike."""

    def __init__(self) -> None:
        """Begin with no text."""
        self._signatures: list[NDArray[np.uint32]] = []
        self._characters = 0
        self.complete = True

    def __len__(self) -> int:
        """Count the texts taken in."""
        return len(self._signatures)

    def add(self, text: str) -> bool:
        """Take in a text as the next place, or say that there is no room for it."""
        if len(self) >= MAX_ROWS or self._characters >= MAX_CHARACTERS:
            self.complete = False
            return False
        text = _SPACE.sub(" ", text[:ROW_CHARACTERS]).strip().casefold()
        self._characters += len(text)
        self._signatures.append(signature(text))
        return True

    def pairs(self) -> list[Pair]:
        """Give the pairs that are alike, in order."""
        if len(self) < 2:
            return []
        table = np.stack(self._signatures)
        found: list[Pair] = []
        candidates = self._candidates(table)
        for start in range(0, len(candidates), _CHUNK):
            first, second = np.divmod(candidates[start : start + _CHUNK], _U64(len(self)))
            similar = (table[first] == table[second]).mean(axis=1)
            for n in np.flatnonzero(similar >= THRESHOLD):
                found.append(Pair(int(first[n]), int(second[n]), float(similar[n])))
        return found

    def _candidates(self, table: NDArray[np.uint32]) -> Hashes:
        """List the pairs that agree in a band, as first * rows + second."""
        known = np.empty(0, np.uint64)
        for band in range(BANDS):
            part = table[:, band * ROWS_IN_BAND : (band + 1) * ROWS_IN_BAND]
            known = np.union1d(known, self._agreeing(_combined(part)))
            if len(known) > MAX_CANDIDATES:
                self.complete = False
                return known[:MAX_CANDIDATES]
        return known

    def _agreeing(self, keys: Hashes) -> Hashes:
        order = np.argsort(keys, kind="stable").astype(np.uint64)
        keys = keys[order]
        parts = [np.empty(0, np.uint64)]
        for step in range(1, min(MAX_NEIGHBOURS, len(keys) - 1) + 1):
            same = keys[step:] == keys[:-step]
            if not same.any():
                return np.concatenate(parts)
            # The sort is stable: the first is before the second.
            parts.append(order[:-step][same] * _U64(len(keys)) + order[step:][same])
            if sum(map(len, parts)) > MAX_CANDIDATES:
                break
        else:
            self.complete &= len(keys) - 1 <= MAX_NEIGHBOURS
            return np.concatenate(parts)
        self.complete = False
        return np.concatenate(parts)


def signature(text: str) -> NDArray[np.uint32]:
    """Give the MinHashes of a text."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    width = max(1, min(SHINGLE, len(codes)))
    windows = np.lib.stride_tricks.sliding_window_view(codes, width) if len(codes) else codes[None]
    shingles = np.unique(_combined(windows))
    hashes = (shingles[None, :] * _FACTORS + _OFFSETS) >> _U64(32)
    return hashes.min(axis=1).astype(np.uint32)


def _combined(table: NDArray[Any]) -> Hashes:
    """Hash each row of a table to one number."""
    total = np.zeros(len(table), np.uint64)
    for column in table.T:
        total = _mixed(total * _U64(0x9E3779B97F4A7C15) + column.astype(np.uint64) + _U64(1))
    return total


def text_of(content: dict[str, Any]) -> str:
    """Give the words of a row, whatever its shape and the order of its keys."""
    return "\n".join(_texts(content))


def _texts(content: dict[str, Any]) -> Iterator[str]:
    for message in content.get("messages", ()):
        yield message["content"]
    for key in ("prompt", "completion", "text"):
        if key in content:
            yield content[key]
