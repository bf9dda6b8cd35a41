"""The prefix cache: rows start from the keys and values of what was read before.

It holds blocks (see `prefix_tree`) in two kinds. Where every layer has a plain `KVCache`, or three
of them (`quantised`), a block holds the slices of its own tokens, so any number of tokens of a
chain can be reused, and the last one of a prompt may be shorter than the others; only whole ones go
to disk. Other layers' caches (a rotating window, a state-space state) can't be cut: a block then
holds their whole state after its last token, is as long as a step of prompt reading, and is reused
whole or not at all.
Use it on the thread that owns MLX, but for `recall`.
"""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import accumulate, pairwise
from typing import Any, cast

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache

from services.inference.engine.adapters.routing import BASE_SLOT, RoutedModel
from services.inference.engine.events import Job, Recalled
from services.inference.engine.prefix_disk import Disk, Layer
from services.inference.engine.prefix_tree import Block, Counts, PrefixTree, keys_of
from services.inference.engine.quantised import parts_of, rebuilt

log = logging.getLogger(__name__)

# A change of what a key stands for makes files of other releases unknown.
FORMAT = 1
BLOCK_TOKENS = 32
_DTYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16, "U32": mx.uint32}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

type Layers = list[Any]
"""Of a block: for each layer's cache, or its three, (keys, values); or a whole cache that can't be
cut."""


@dataclass(frozen=True)
class Reuse:
    """How a row may start: its layers' caches, and the tokens that they hold."""

    caches: list[Any]
    tokens: int


class PrefixCache:
    """Keeps what rows have read, within a bound of bytes, and lets later rows start from it."""

    def __init__(
        self, model: RoutedModel, limit: int, step: int, base: str = "", disk: Disk | None = None
    ) -> None:
        """Take the bound in bytes, the tokens of one step of reading, and the base's digest."""
        self._model = model
        self.divisible = all(type(part) is KVCache for part in parts_of(self._fresh()))
        length = BLOCK_TOKENS if self.divisible else step
        self._tree = PrefixTree[Layers](limit, length)
        self._layout = _layout(model) if disk and self.divisible else ()
        self._disk = disk if self._layout else None
        layers = [astuple(layer) for layer in self._layout]
        self._constants = (FORMAT, version("mlx-lm"), base, layers, model.kv_bits)
        self._unsaved: deque[bytes] = deque()

    @property
    def counts(self) -> Counts:
        """Give what is kept, and what came of looking for it."""
        return self._tree.counts

    def adopt(self, job: Job) -> Job:
        """Take over what was read from disk for a request; give the request without it."""
        root = self._root(job.adapter, job.generate.cache_salt)
        try:
            for recalled in job.recalled:
                # Its parent may have been evicted since.
                if recalled.parent == root or recalled.parent in self._tree:
                    self._take(recalled)
        except Exception as error:
            log.error("the prefix cache took nothing from disk", exc_info=error)
        return replace(job, recalled=())

    def serves(self, job: Job) -> bool:
        """Tell whether a request takes part."""
        return self._tree.limit > 0 and job.generate.cache_prompt

    def fetch(self, job: Job) -> Reuse:
        """Give what is kept of the beginning of a prompt; at least its last token is left."""
        try:
            return self._fetch(job) if self.serves(job) else Reuse([], 0)
        except Exception as error:
            log.error("the prefix cache gave nothing", exc_info=error)
            return Reuse([], 0)

    def keep(self, job: Job, cache: list[Any], tokens: list[int]) -> None:
        """Keep what a row's cache holds for these tokens, as far as it is new and has room."""
        try:
            if self.serves(job) and len(tokens) >= self._tree.length:
                self._keep(job, parts_of(cache[:-1]), tokens)
        except Exception as error:
            log.error("the prefix cache kept nothing", exc_info=error)

    def _fetch(self, job: Job) -> Reuse:
        root = self._root(job.adapter, job.generate.cache_salt)
        usable = job.tokens[:-1]
        chain = self._tree.chain(root, usable)
        parts, tokens = [block.contents for block in chain], len(chain) * self._tree.length
        rest = usable[tokens : tokens + self._tree.length]
        if self.divisible and (near := self._tree.nearest(chain[-1].key if chain else root, rest)):
            block, count = near
            parts.append([(k[..., :count, :], v[..., :count, :]) for k, v in block.contents])
            tokens += count
        self._tree.looked(tokens)
        return Reuse(rebuilt(self._fresh(), _join(parts)) if parts else [], tokens)

    def _keep(self, job: Job, layers: list[Any], tokens: list[int]) -> None:
        length = self._tree.length
        parent = self._root(job.adapter, job.generate.cache_salt)
        if chain := self._tree.chain(parent, tokens):
            parent = chain[-1].key
        known = len(chain) * length
        new = tokens[known:]
        if not self.divisible and len(new) != length:
            return  # the state is that after the last token, and only of use behind its parent
        if self._tree.holds(parent, new):
            return
        size = sum(layer.nbytes for layer in layers)
        if self.divisible:
            size = size * length // len(tokens)
        runs = [new[start : start + length] for start in range(0, len(new), length)]
        room = self._tree.room_for(size * len(runs), parent)
        runs = runs[: room // max(size, 1)]
        for run, contents in zip(runs, _cut(layers, known, runs), strict=True):
            (key,) = keys_of(parent, run, len(run))
            self._tree.add(Block(key, parent, run, contents, _bytes(contents)))
            parent = key
            if self._disk and len(run) == length:
                self._unsaved.append(key)

    def recall(self, adapter: str, salt: str, tokens: list[int]) -> tuple[Recalled, ...]:
        """Read from disk what continues the kept beginning of a prompt; from any thread."""
        if self._disk is None:
            return ()
        length, parent = self._tree.length, self._root(adapter, salt)
        found, size = list[Recalled](), 0
        for n, key in enumerate(keys_of(parent, tokens[:-1], length)):
            if key not in self._tree:
                layers = self._disk.read(key, self._layout, length)
                if layers is None or size > self._tree.limit:
                    break
                run = tokens[n * length : (n + 1) * length]
                found.append(Recalled(key, parent, run, layers))
                size += sum(len(part) for pair in layers for part in pair)
            parent = key
        return tuple(found)

    def save_one(self, *, wait: bool) -> bool:
        """Hand one new block to the disk's thread; tell whether there was one and room for it."""
        while self._disk and self._unsaved and (wait or not self._disk.busy):
            key = self._unsaved.popleft()
            if block := self._tree.get(key):
                raw = [(_raw(keys), _raw(values)) for keys, values in block.contents]
                self._disk.write(key, self._layout, raw)
                return True
        return False

    def clear(self, cleared: Callable[[Counts, int], None]) -> None:
        """Forget everything; `cleared` is told what it was, and the bytes on disk."""
        self._unsaved.clear()
        forgotten = self._tree.clear()
        if self._disk is None:
            cleared(forgotten, 0)
        else:
            self._disk.clear(partial(cleared, forgotten))

    def _fresh(self) -> list[Any]:
        """Make the caches of a row that has read nothing."""
        return self._model.row_cache(BASE_SLOT)[:-1]

    def _root(self, adapter: str, salt: str) -> bytes:
        """Give the key before the first token: all that keys and values depend on but tokens."""
        return hashlib.sha256(json.dumps([*self._constants, adapter, salt]).encode()).digest()

    def _take(self, recalled: Recalled) -> None:
        """Keep a block that was read from disk."""
        if recalled.key in self._tree:
            return
        size = sum(len(keys) + len(values) for keys, values in recalled.layers)
        if self._tree.room_for(size, recalled.parent) >= size:
            contents = _restored(recalled.layers, self._layout, self._tree.length)
            self._tree.add(Block(recalled.key, recalled.parent, recalled.tokens, contents, size))


def _layout(model: RoutedModel) -> tuple[Layer, ...]:
    """Learn the shapes of a model's keys and values from one token's."""
    cache = model.row_cache(BASE_SLOT)
    mx.eval(model(mx.array([[0]]), cache=cache))
    return tuple(
        Layer(c.keys.shape[1], c.keys.shape[3], c.values.shape[3], _NAMES[c.keys.dtype])
        for c in parts_of(cache[:-1])
    )


def _cut(layers: list[Any], start: int, runs: list[list[int]]) -> list[Layers]:
    """Copy the blocks of these runs, which begin at `start`, out of a row's caches."""
    ends = list(accumulate(map(len, runs), initial=start))
    spans = [slice(*pair) for pair in pairwise(ends)]
    blocks: list[Layers] = [[] for _ in runs]
    for cache in layers:
        parts: Layers = [cache] * len(runs)
        if type(cache) is KVCache:
            keys, values = cast("tuple[mx.array, mx.array]", (cache.keys, cache.values))
            parts = [
                (mx.contiguous(keys[..., span, :]), mx.contiguous(values[..., span, :]))
                for span in spans
            ]
        # Layer by layer: a copy of the whole row at once would be memory that no forecast has.
        mx.eval([part.state if part is cache else part for part in parts])
        for block, part in zip(blocks, parts, strict=True):
            block.append(part)
    return blocks


def _join(parts: list[Layers]) -> list[Any]:
    """Make the caches that hold a chain of blocks; MLX-LM's batch copies what they hold."""
    caches = list[Any]()
    for layer in zip(*parts, strict=True):
        cache = layer[-1]
        if isinstance(cache, tuple):
            cache = KVCache()  # type: ignore[no-untyped-call]
            cache.keys = mx.concatenate([keys for keys, _ in layer], axis=2)
            cache.values = mx.concatenate([values for _, values in layer], axis=2)
            cache.offset = cache.keys.shape[2]
        caches.append(cache)
    return caches


def _restored(layers: list[tuple[bytes, bytes]], layout: tuple[Layer, ...], length: int) -> Layers:
    def array(raw: bytes, layer: Layer, width: int) -> mx.array:
        flat = mx.array(np.frombuffer(raw, np.uint8)).view(_DTYPES[layer.dtype])
        return flat.reshape(1, layer.heads, length, width)

    contents = [
        (array(keys, layer, layer.key_width), array(values, layer, layer.value_width))
        for (keys, values), layer in zip(layers, layout, strict=True)
    ]
    mx.eval(contents)
    return contents


def _raw(values: mx.array) -> bytes:
    return np.array(values.view(mx.uint8)).tobytes()


def _bytes(contents: Layers) -> int:
    return sum(
        part[0].nbytes + part[1].nbytes if isinstance(part, tuple) else part.nbytes
        for part in contents
    )
