"""The rows that generate, in groups of like length, each with a pass of its own.

MLX-LM's batch pads all rows to the longest: beside one row of many tokens, short ones read and keep
as much that is not there. A second pass reads the weights once more. Whatever reads less is done.
"""

from itertools import combinations
from typing import Any, cast

from mlx_lm.generate import BatchGenerator, GenerationBatch

from services.inference.engine.adapters.routing import RoutedModel
from services.inference.engine.decoding import Decoding
from services.runtime.model import weight_bytes

LEAST_BYTES = 200_000_000
"""A pass costs no less than reading so much: Python builds its graph, in some 20 ms."""


class Groups:
    """Stands where MLX-LM's BatchGenerator has its GenerationBatch."""

    def __init__(self, model: RoutedModel, likelihoods: set[int]) -> None:
        """Take the model, and the uids of the rows that tell how likely their tokens are."""
        self._model, self._likelihoods = model, likelihoods
        self._pass_bytes = max(LEAST_BYTES, weight_bytes(model.model))
        self._groups = [Decoding.of(model, likelihoods)]

    def __len__(self) -> int:
        """Count the rows."""
        return sum(map(len, self._groups))

    @staticmethod
    def of(generator: BatchGenerator) -> "Groups":
        """Give those of a generator that was made to have them."""
        return cast("Groups", generator._generation_batch)

    @property
    def lone(self) -> Decoding:
        """Give the batch of the only row; an empty one if there is none."""
        return max(self._groups, key=len)

    @property
    def uids(self) -> list[int]:
        """Name the rows, in the order that `filter` and `extract_cache` count in."""
        return [uid for group in self._groups for uid in group.uids]

    @property
    def tokens(self) -> list[list[int]]:
        """Give what the rows' caches hold."""
        return [tokens for group in self._groups for tokens in group.tokens]

    @property
    def prompt_cache(self) -> list[Any]:
        """Give all groups' caches, to be measured."""
        return [cache for group in self._groups for cache in group.prompt_cache]

    def extract_cache(self, index: int) -> list[Any]:
        """Give one row's cache."""
        group, row = self._places()[index]
        return list(group.extract_cache(row))

    def filter(self, keep: list[int]) -> None:
        """Keep some rows."""
        places = self._places()
        kept = [places[index] for index in keep]
        for group in self._groups:
            rows = [row for owner, row in kept if owner is group]
            if len(rows) < len(group):
                group.filter(rows)
        self._join()

    def extend(self, batch: GenerationBatch) -> None:
        """Take rows that have read their prompts into the group they fit best, or a new one."""
        self._groups = [group for group in self._groups if len(group)]
        best = min(self._groups, key=lambda group: _padding(group, batch), default=None)
        if best is None or _padding(best, batch) > self._pass_bytes:
            self._groups.append(best := Decoding.of(self._model, self._likelihoods))
        best.extend(batch)  # type: ignore[no-untyped-call]

    def next(self) -> list[GenerationBatch.Response]:
        """Give a token of every row."""
        before = len(self)
        responses = [response for group in self._groups for response in group.next()]
        if len(self) < before:
            self._join()
        return responses

    def _places(self) -> list[tuple[Decoding, int]]:
        return [(group, row) for group in self._groups for row in range(len(group))]

    def _join(self) -> None:
        """Make one group of two where padding has become cheaper than a pass, by half."""
        for one, other in combinations(self._groups, 2):
            if len(one) and len(other) and 2 * _padding(one, other) <= self._pass_bytes:
                one.extend(other)  # type: ignore[no-untyped-call]
                other.filter([])
        self._groups = [group for group in self._groups if len(group)] or self._groups[:1]


def _padding(one: GenerationBatch, other: GenerationBatch) -> float:
    """Estimate the bytes of keys and values that are padded when two batches become one."""
    short, long = sorted((one, other), key=_span)
    nbytes = sum(int(cache.nbytes) for cache in long.prompt_cache)
    return (_span(long) - _span(short)) * len(short) * nbytes / (len(long) * _span(long))


def _span(batch: GenerationBatch) -> int:
    return max(map(len, batch.tokens))
