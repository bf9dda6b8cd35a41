"""The engine's life: load, warm up, say ready, then batch until the service goes."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.inference.engine.adapters import Adapters, RoutedModel
from services.inference.engine.batch import Batch, BatchLimits
from services.inference.engine.events import Cancel, Failed, Job, Outcome, Work
from services.inference.engine.loading import LoadingReport
from services.inference.engine.prompt import PromptDesk, Prompts, Submitted
from services.inference.engine.text import Writer
from services.runtime.frames import FrameError, Frames
from services.runtime.model import load_base, on_cpu
from services.runtime.peak import peak_memory

log = logging.getLogger(__name__)

STATS_SECONDS = 1.0
WARM_UP_TOKENS = 2


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

    def run(self, base: Path, start: engine_pb2.StartCommand) -> None:
        """Load, say ready, and batch for ever; the reader thread ends the process.

        Raises FolderError or MLX's own errors when the model can't be served.
        """
        self._spawn(self._read)
        loading = LoadingReport(self._frames.write)
        model, tokenizer, config = load_base(base, loading.weights)
        routed = RoutedModel(model)
        limits = _limits(start)
        adapters = Adapters(routed, start.adapter_slots)
        loading.warming_up()
        _warm_up(routed, adapters, limits)
        context = _context(config, start.kv_tokens)
        writer = Writer(base / "tokenizer.json", self._frames.write, self._work.put)
        tell = writer.outcomes.put
        prompts = Prompts(tokenizer, context, _vocabulary(config, tokenizer))
        desk = PromptDesk(self._submitted, prompts, self._work.put, tell)
        batch = Batch(routed, adapters, set(tokenizer.eos_token_ids), limits, tell)
        ready = engine_pb2.EngineReady(
            context_length=context, weight_bytes=float(mx.get_active_memory())
        )
        self._frames.write(engine_pb2.EngineEvent(ready=ready))
        self._spawn(desk.run)
        self._spawn(writer.run)
        while True:
            self._take_work(batch)
            self._step(batch)
            self._tell_stats(batch, adapters, tell)

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
        except (FrameError, OSError) as error:
            log.error("the service's commands can't be read: %s", error)
        finally:
            # The service has gone: nobody waits for anything here any more, and the
            # thread that owns MLX may be deep in it.
            os._exit(0)

    def _take_work(self, batch: Batch) -> None:
        idle = not batch.running and not batch.waiting
        while idle or not self._work.empty():
            work = self._work.get()
            if isinstance(work, Cancel):
                batch.cancel(work.request)
            else:
                batch.add(work)
            idle = False

    def _step(self, batch: Batch) -> None:
        before = batch.running
        batch.step()
        if before or batch.running:
            self._steps += 1
            self._last_step = time.monotonic()

    def _tell_stats(
        self, batch: Batch, adapters: Adapters, tell: Callable[[Outcome], None]
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
            steps=self._steps,
            last_step_age_seconds=now - self._last_step if self._steps else 0.0,
            adapters=adapters.resident,
        )
        tell(stats)


def _warm_up(model: RoutedModel, adapters: Adapters, limits: BatchLimits) -> None:
    """Generate a little: the first pass compiles kernels and shows what can't be batched."""
    outcomes: list[Outcome] = []
    batch = Batch(model, adapters, set(), limits, outcomes.append)
    request = pb.GenerateRequest(max_tokens=WARM_UP_TOKENS)
    batch.add(Job(0, request, [0] * (limits.prefill_step // 2), time.monotonic()))
    batch.step()
    while batch.running:
        batch.step()
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            raise outcome.error


def _limits(start: engine_pb2.StartCommand) -> BatchLimits:
    """Bound how long reading a prompt may stall the rows that generate: a CPU reads slowly."""
    rows, step = (2, 128) if on_cpu() else (4, 256)
    return BatchLimits(start.max_rows, start.kv_tokens, prefill_rows=rows, prefill_step=step)


def _context(config: dict[str, Any], kv_tokens: int) -> int:
    stated = _of_text(config, "max_position_embeddings")
    return min(stated, kv_tokens) if stated else kv_tokens


def _vocabulary(config: dict[str, Any], tokenizer: Any) -> int:
    return _of_text(config, "vocab_size") or len(tokenizer)


def _of_text(config: dict[str, Any], key: str) -> int:
    """Look a key up where multi-modal models keep it, too."""
    text = config.get("text_config")
    value = config.get(key) or (text.get(key) if isinstance(text, dict) else None)
    return int(value or 0)
