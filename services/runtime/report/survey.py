"""One pass over a dataset: what is counted of each row, and what follows from all of them."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.runtime.batches import epoch_batches
from services.runtime.encoding import Encoder, RowRefusedError
from services.runtime.report.near import NearIndex, Pair, text_of
from services.runtime.rows import Row, Side, Split
from services.runtime.trainable import Lines, Untrainable

# Enough of a hash to tell any two rows of a dataset apart.
_DIGEST_BYTES = 16


@dataclass
class Survey:
    """What was counted so far."""

    rows: int = 0
    sides: Counter[Side] = field(default_factory=Counter)
    untrainable: Untrainable = field(default_factory=Untrainable)
    truncated: Lines = field(default_factory=Lines)
    never_seen: Lines = field(default_factory=Lines)
    cut_tokens: int = 0
    trained_tokens: int = 0
    max_trained: int = 0
    """The most of one row, whichever side it is on."""
    lengths: array[int] = field(default_factory=lambda: array("i"))
    """Of every row that can be encoded, before it is cut."""
    trained_lengths: array[int] = field(default_factory=lambda: array("i"))
    """Of the training rows, after they are cut."""
    near: NearIndex = field(default_factory=NearIndex)
    _lines: array[int] = field(default_factory=lambda: array("i"))
    _digests: bytearray = field(default_factory=bytearray)
    _near_lines: array[int] = field(default_factory=lambda: array("i"))
    _near_train: array[int] = field(default_factory=lambda: array("b"))
    _known: set[bytes] = field(default_factory=set)

    def read(self, rows: Iterable[Row], encoder: Encoder, split: Split) -> None:
        """Count all rows in."""
        for row in rows:
            side = split.side(row.digest)
            self.rows += 1
            self.sides[side] += 1
            self._compare(row, side)
            trainable = self._encode(row, encoder, side)
            if side is not Side.TRAIN or not trainable:
                self.never_seen.add(row.line)

    def _encode(self, row: Row, encoder: Encoder, side: Side) -> bool:
        """Count the tokens of a row and tell whether it can teach anything."""
        try:
            example = encoder.encode(row)
        except RowRefusedError as error:
            self.untrainable.refuse(row.line, str(error))
            return False
        kept = len(example.tokens)
        self.lengths.append(example.full_length)
        self.cut_tokens += example.full_length - kept
        if example.full_length > kept:
            self.truncated.add(row.line)
        if not example.trained_tokens:
            self.untrainable.masked.add(row.line)
            return False
        self.max_trained = max(self.max_trained, example.trained_tokens)
        if side is Side.TRAIN:
            self.trained_lengths.append(kept)
            self.trained_tokens += example.trained_tokens
        return True

    def _compare(self, row: Row, side: Side) -> None:
        """Note a row's hash and, the first time it comes, its text's signature."""
        digest = row.digest[:_DIGEST_BYTES]
        self._lines.append(row.line)
        self._digests += digest
        if self.near.complete and digest not in self._known and self.near.add(text_of(row.content)):
            self._known.add(digest)
            self._near_lines.append(row.line)
            self._near_train.append(side is Side.TRAIN)

    def duplicates(self) -> list[NDArray[np.int32]]:
        """Give the lines of each group of equal rows, in order of the first of each."""
        halves = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: lines rise within a group
        ordered = halves[order]
        same = (ordered[1:] == ordered[:-1]).all(axis=1)
        groups = np.split(np.asarray(self._lines)[order], np.flatnonzero(~same) + 1)
        return sorted((g for g in groups if len(g) > 1), key=lambda group: int(group[0]))

    def near_pairs(self) -> Iterator[tuple[Pair, bool]]:
        """Give the pairs of different rows that are alike, by line, and whether they straddle."""
        for pair in self.near.pairs():
            first, second = pair.first, pair.second
            lines = self._near_lines[first], self._near_lines[second]
            straddles = self._near_train[first] != self._near_train[second]
            yield Pair(*lines, pair.similarity), straddles

    def padding(self, batch_size: int, seed: int) -> tuple[int, int]:
        """Count the first epoch's padded positions and all its positions."""
        lengths = self.trained_lengths
        batches = epoch_batches(lengths, batch_size, seed, epoch=0) if lengths else []
        positions = sum(len(batch) * max(lengths[n] for n in batch) for batch in batches)
        return positions - sum(lengths), positions
