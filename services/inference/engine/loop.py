"""The engine's life: load, warm up, say ready, then batch until the service goes."""

import gc
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.inference.engine.adapters.files import Reader
from services.inference.engine.adapters.routing import BASE_SLOT, RoutedModel
from services.inference.engine.adapters.slots import Adapters
from services.inference.engine.batch import Batch
from services.inference.engine.draft_model import DraftModel, load_draft
from services.inference.engine.drafting import Drafter
from services.inference.engine.events import Cancel, ClearCache, Failed, Job, Outcome, Work
from services.inference.engine.grammar import Outputs
from services.inference.engine.head import quicken_head
from services.inference.engine.loading import LoadingReport
from services.inference.engine.pace import BatchLimits
from services.inference.engine.prefix_cache import PrefixCache
from services.inference.engine.prefix_disk import Disk
from services.inference.engine.prefix_tree import Counts
from services.inference.engine.prompt import PromptDesk, Prompts, Submitted
from services.inference.engine.proposers import LONGEST, SHORTEST
from services.inference.engine.sizes import context_of, vocabulary_of
from services.inference.engine.template import BoundedTokenizer, Renderer
from services.inference.engine.text import Writer
from services.inference.engine.tools import ToolFormat
from services.runtime.frames import FrameError, Frames
from services.runtime.model import load_base, on_cpu
from services.runtime.peak import peak_memory

log = logging.getLogger(__name__)

STATS_SECONDS = 1.0
WARM_UP_TOKENS = 2
LINGER_SECONDS, COMING_SECONDS, GATHER_SECONDS = 0.004, 0.02, 0.06
"""Requests that come at once are read in one pass, if a moment is waited for the next of them: no
longer than the first, or the second where the service knows of one, and than the third in all. A
CPU takes as long for a pass over eight prompts as for two over one; a GPU's are too short."""


class Engine:
    """One base model in this process; create, load and run it on the thread that owns MLX."""

    def __init__(self, frames: Frames) -> None:
        """Take the way to the service."""
        self._frames = frames
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._submitted: queue.SimpleQueue[Submitted] = queue.SimpleQueue()
        self._stats_due = 0.0
        self._steps = 0
        self._last_step = 0.0
        self._draft: DraftModel | None = None

    def run(self, base: Path, start: engine_pb2.StartCommand) -> None:
        """Load, say ready, and batch for ever; the reader thread ends the process.

        Raises FolderError or MLX's own errors when the model can't be served.
        """
        self._spawn(self._read)
        loading = LoadingReport(self._frames.write)
        model, tokenizer, config = load_base(base, loading.weights, _tuned(start))
        routed = _routed(model, start)
        limits, vocabulary = _limits(start), vocabulary_of(config) or len(tokenizer)
        adapters = Adapters(routed, start.adapter_slots, int(start.adapter_bytes))
        self._draft = load_draft(base, start, vocabulary, limits.prefill_shared)
        loading.warming_up()
        _warm_up(routed, adapters, limits)
        # What is here stays: looking through it again would stall a step for milliseconds.
        gc.collect()
        gc.freeze()
        context = _context(config, start)
        writer = Writer(base / "tokenizer.json", self._frames.write, self._work.put)
        tell, eos = writer.outcomes.put, set(tokenizer.eos_token_ids)
        renderer = Renderer()
        bounded = BoundedTokenizer(tokenizer, renderer)
        prompts = Prompts(bounded, context, vocabulary)
        outputs = Outputs(base / "tokenizer.json", eos, ToolFormat.of(tokenizer))
        prefixes = _prefixes(routed, limits, start.prefix_cache)
        helpers = outputs, _reader(adapters, start), prefixes.recall
        desk = PromptDesk(self._submitted, prompts, self._work.put, tell, *helpers)
        batch = Batch(routed, adapters, eos, limits, tell, prefixes, Drafter(self._draft))
        size = float(mx.get_active_memory())
        ready = engine_pb2.EngineReady(context_length=context, weight_bytes=size)
        self._frames.write(engine_pb2.EngineEvent(ready=ready))
        if tokenizer.has_chat_template:
            renderer.start()
        self._spawn(desk.run)
        self._spawn(writer.run)
        while True:
            self._tell_stats(batch, prefixes, adapters, tell)
            self._save(batch, prefixes)
            self._take_work(batch, prefixes, tell)
            self._step(batch)

    def _spawn(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        try:
            while command := self._frames.read(engine_pb2.EngineCommand):
                match command.WhichOneof("command"):
                    case "submit":
                        self._submitted.put(command.submit)
                    case "cancel":
                        cancel = Cancel(command.cancel.request)
                        self._work.put(cancel)
                        self._submitted.put(cancel)
                    case "clear_cache":
                        self._work.put(ClearCache(command.clear_cache.request))
        except (FrameError, OSError) as error:
            log.error("the service's commands can't be read: %s", error)
        finally:
            # The service has gone: nobody waits for anything here any more, and the
            # thread that owns MLX may be deep in it.
            os._exit(0)

    def _save(self, batch: Batch, prefixes: PrefixCache) -> None:
        """Hand new blocks to the disk: one a step, and all while nobody waits."""
        if batch.running or batch.waiting:
            prefixes.save_one(wait=False)
            return
        while self._work.empty() and prefixes.save_one(wait=True):
            pass

    def _take_work(
        self, batch: Batch, prefixes: PrefixCache, tell: Callable[[Outcome], None]
    ) -> None:
        idle = not batch.running and not batch.waiting
        for work in self._arrivals(idle=idle):
            match work:
                case Cancel():
                    batch.cancel(work.request)
                case ClearCache():
                    prefixes.clear(partial(_tell_cleared, tell, work.request))
                case Job():
                    batch.add(work)

    def _arrivals(self, *, idle: bool) -> Iterator[Work]:
        """Give what there is to do; when idle, wait for it, and a moment for what comes with it."""
        until, linger = 0.0, LINGER_SECONDS
        if idle:
            yield (work := self._work.get())
            linger = _linger(work)
            until = time.monotonic() + (GATHER_SECONDS if on_cpu() else 0)
        while True:
            wait = min(linger, max(0.0, until - time.monotonic()))
            try:
                yield (work := self._work.get(timeout=wait))
            except queue.Empty:
                return
            linger = _linger(work)

    def _step(self, batch: Batch) -> None:
        before = batch.running
        batch.step()
        if before or batch.running:
            self._steps += 1
            self._last_step = time.monotonic()

    def _tell_stats(
        self,
        batch: Batch,
        prefixes: PrefixCache,
        adapters: Adapters,
        tell: Callable[[Outcome], None],
    ) -> None:
        now = time.monotonic()
        if now < self._stats_due and batch.running:
            return
        self._stats_due = now + STATS_SECONDS
        stats = engine_pb2.EngineStats(
            running=batch.running,
            waiting=batch.waiting,
            active_bytes=mx.get_active_memory(),
            peak_bytes=peak_memory(),
            tokens_generated=batch.tokens_generated,
            cache=engine_pb2.PrefixCacheCounts(**asdict(prefixes.counts)),
            steps=self._steps,
            last_step_age_seconds=now - self._last_step if self._steps else 0.0,
            adapters=len(adapters),
            kv_bytes=batch.kv_bytes,
            rows_per_step=batch.meter.rows.told(),
            inter_token_seconds=batch.meter.inter_token.told(),
            draft_failed=self._draft is not None and self._draft.failed,
        )
        tell(stats)


def _linger(work: Work) -> float:
    return COMING_SECONDS if isinstance(work, Job) and work.coming else LINGER_SECONDS


def _tuned(start: engine_pb2.StartCommand) -> Path | None:
    return Path(start.tuned_path) if start.tuned_path else None


def _routed(model: Any, start: engine_pb2.StartCommand) -> RoutedModel:
    ends = quicken_head(model) if on_cpu() else None
    return RoutedModel(model, start.max_kv_size, ends, start.kv_bits)


def _reader(adapters: Adapters, start: engine_pb2.StartCommand) -> Reader:
    return Reader(adapters.resident, adapters.max_bytes, int(start.adapter_ahead_bytes))


def _warm_up(model: RoutedModel, adapters: Adapters, limits: BatchLimits) -> None:
    """Compute in every shape that will be used: a GPU compiles kernels for each.

    Generating a little shows what can't be batched.
    """
    cache = [entry.merge([entry]) for entry in model.row_cache(BASE_SLOT)]
    for tokens in (limits.prefill_shared, LONGEST + 1, SHORTEST + 1):
        mx.eval(model(mx.zeros((1, tokens), mx.int32), cache=cache))
    outcomes: list[Outcome] = []
    batch = Batch(model, adapters, set(), limits, outcomes.append)
    request = pb.GenerateRequest(max_tokens=WARM_UP_TOKENS)
    batch.add(Job(0, request, [0] * (limits.prefill_step + 1), time.monotonic()))
    batch.step()
    while batch.running:
        batch.step()
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            raise outcome.error


def _prefixes(
    model: RoutedModel, limits: BatchLimits, bounds: engine_pb2.PrefixCacheBounds
) -> PrefixCache:
    """Open the prefix cache, and its folder where there may be one."""
    disk = None
    if bounds.bytes and bounds.disk_bytes:
        try:
            disk = Disk(Path(bounds.folder), int(bounds.disk_bytes))
        except OSError as error:
            log.error("the prefix cache's folder can't be used; nothing is kept there: %s", error)
    step, digest = limits.prefill_step, bounds.base_digest
    return PrefixCache(model, int(bounds.bytes), step, digest, disk)


def _tell_cleared(
    tell: Callable[[Outcome], None], request: int, forgotten: Counts, disk_bytes: int
) -> None:
    blocks, size = forgotten.blocks, float(forgotten.bytes)
    tell(
        engine_pb2.CacheCleared(
            request=request, blocks=blocks, bytes=size, disk_bytes=float(disk_bytes)
        )
    )


def _limits(start: engine_pb2.StartCommand) -> BatchLimits:
    """Bound how long reading a prompt may stall the rows that generate: a CPU reads slowly."""
    paces = (8, 128, 64, 2000) if on_cpu() else (8, 512, 256, 32_000)
    return BatchLimits(start.max_rows, start.kv_tokens, *paces, start.max_kv_size, on_cpu())


def _context(config: dict[str, Any], start: engine_pb2.StartCommand) -> int:
    """Give the tokens of the longest row; one that forgets needs no room for all of them."""
    stated = context_of(config)
    if stated and start.max_kv_size:
        return stated
    return min(stated, start.kv_tokens) if stated else start.kv_tokens
