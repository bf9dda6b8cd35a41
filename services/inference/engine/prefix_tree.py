"""What is kept of prompts, as a tree of blocks; plain values, whatever a block's contents are.

A block is a run of a fixed number of tokens, or of fewer at the end of a chain, with the keys and
values that they have after all tokens before them. Its key is a hash over its parent's key and its
own tokens, as in vLLM's prefix cache, so that a prompt's blocks are found by hashing its tokens,
and beginnings that prompts share are kept once.
"""

import hashlib
from array import array
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field, replace

# The share of the bytes that blocks of several conversations hold against those of one.
SHARED_SHARE = 0.5


@dataclass
class Block[P]:
    """A run of tokens and what is kept for them."""

    key: bytes
    parent: bytes
    tokens: list[int]
    contents: P
    size: int
    shared: bool = False
    """Prompts of more than one conversation have passed here."""


@dataclass(frozen=True)
class Counts:
    """What is kept, and what came of looking for it."""

    blocks: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    tokens_reused: int = 0


def keys_of(root: bytes, tokens: list[int], length: int) -> list[bytes]:
    """Give the keys of the whole blocks at the beginning of these tokens, in order."""
    keys = list[bytes]()
    for start in range(0, len(tokens) - length + 1, length):
        run = array("i", tokens[start : start + length])
        keys.append(hashlib.sha256((keys[-1] if keys else root) + run.tobytes()).digest())
    return keys


@dataclass
class PrefixTree[P]:
    """Blocks within a bound of bytes; leaves go first, least lately used first.

    So a beginning outlives what came after it. Leaves that one conversation alone has used go
    before shared ones, unless the shared blocks hold more than `SHARED_SHARE` of the bytes.
    """

    limit: int
    length: int
    """Tokens of a block."""
    counts: Counts = field(default_factory=Counts)
    _blocks: OrderedDict[bytes, Block[P]] = field(default_factory=OrderedDict)
    _children: defaultdict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    _shared_bytes: int = 0

    def __contains__(self, key: bytes) -> bool:
        """Tell whether a block is kept; from any thread."""
        return key in self._blocks

    def get(self, key: bytes) -> Block[P] | None:
        """Give a block."""
        return self._blocks.get(key)

    def chain(self, root: bytes, tokens: list[int]) -> list[Block[P]]:
        """Give the kept blocks from the first token on, and count them as used just now."""
        found = list[Block[P]]()
        for key in keys_of(root, tokens, self.length):
            if (block := self._blocks.get(key)) is None:
                break
            found.append(block)
        for block in reversed(found):
            self._blocks.move_to_end(block.key)
        return found

    def nearest(self, parent: bytes, tokens: list[int]) -> tuple[Block[P], int] | None:
        """Give the block behind `parent` that begins most like these tokens, and how far it does.

        Behind the root, less than half a block is not worth the copying. A block that a
        prompt leaves in its second half is shared from now on: two go different ways there.
        """
        children = [self._blocks[key] for key in self._children.get(parent, ())]
        like = [(_common(block.tokens, tokens), block) for block in children]
        count, best = max(like, key=lambda pair: pair[0], default=(0, None))
        half = 2 * count >= self.length
        if best is None or not count or not (half or parent in self._blocks):
            return None
        self._blocks.move_to_end(best.key)
        if half and count < len(best.tokens):
            self._share(best.key)
        return best, count

    def holds(self, parent: bytes, tokens: list[int]) -> bool:
        """Tell whether a block behind `parent` begins with these tokens."""
        children = (self._blocks[key] for key in self._children.get(parent, ()))
        return any(block.tokens[: len(tokens)] == tokens for block in children)

    def room_for(self, size: int, parent: bytes) -> int:
        """Evict until `size` more bytes fit or nothing else may go; give the free bytes.

        `parent`, behind which they are to be added, stays.
        """
        while self.counts.bytes + size > self.limit:
            if (block := self._first_to_go(parent)) is None:
                break
            self._remove(block)
        return self.limit - self.counts.bytes

    def add(self, block: Block[P]) -> None:
        """Keep one more; `room_for` has made the room. Its parent is the root or kept.

        It takes the place of a shorter one with which it begins.
        """
        for key in list(self._children.get(block.parent, ())):
            other = self._blocks[key].tokens
            if len(other) < len(block.tokens) and block.tokens[: len(other)] == other:
                self._remove(self._blocks[key])
        self._blocks[block.key] = block
        siblings = self._children[block.parent]
        siblings.add(block.key)
        self._count(block, 1)
        if len(siblings) > 1:
            self._share(block.parent)

    def looked(self, reused: int) -> None:
        """Count a prompt of which so many tokens were found."""
        self.counts = replace(
            self.counts,
            hits=self.counts.hits + bool(reused),
            misses=self.counts.misses + (not reused),
            tokens_reused=self.counts.tokens_reused + reused,
        )

    def clear(self) -> Counts:
        """Forget all blocks; give what they were."""
        before = self.counts
        self._blocks.clear()
        self._children.clear()
        self._shared_bytes = 0
        self.counts = replace(before, blocks=0, bytes=0)
        return before

    def _first_to_go(self, kept: bytes) -> Block[P] | None:
        of_one = self._shared_bytes <= self.limit * SHARED_SHARE
        leaves = (b for b in self._blocks.values() if b.key not in self._children and b.key != kept)
        other: Block[P] | None = None
        for block in leaves:
            if block.shared != of_one:
                return block
            other = other or block
        return other

    def _remove(self, block: Block[P]) -> None:
        del self._blocks[block.key]
        siblings = self._children[block.parent]
        siblings.discard(block.key)
        if not siblings:
            del self._children[block.parent]
        self._count(block, -1)

    def _share(self, key: bytes) -> None:
        while (block := self._blocks.get(key)) and not block.shared:
            block.shared = True
            self._shared_bytes += block.size
            key = block.parent

    def _count(self, block: Block[P], sign: int) -> None:
        self._shared_bytes += sign * block.size * block.shared
        self.counts = replace(
            self.counts,
            blocks=self.counts.blocks + sign,
            bytes=self.counts.bytes + sign * block.size,
        )


def _common(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
