"""One side of bench.training in a process of its own: `ours` or `mlx-lm`, LoRA or QLoRA.

Both get the same weights, rows, shape of adapter and optimizer; real tokens are those of the rows,
without padding.
"""

import argparse
import hashlib
import json
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from services.runtime.model import load_base, load_lazily, load_tokenizer, on_cpu, prepare

RANK, SCALE, BATCH, LENGTH, RATE = 8, 20.0, 4, 512, 1e-4


class Enough(Exception):
    """The steps that were asked for are done."""


class Clock:
    """Notes the seconds and the real tokens of each step, by the wall."""

    def __init__(self, steps: int) -> None:
        """Stop after so many."""
        self.left = steps
        self.tokens: list[int] = []
        self.seconds: list[float] = []
        self.saves: list[float] = []
        self._last = time.perf_counter()

    def batch(self, tokens: int) -> None:
        """A step begins on so many tokens."""
        self.tokens.append(tokens)
        self._last = time.perf_counter()

    def step(self, *_: Any) -> None:
        """The step is done."""
        self.seconds.append(time.perf_counter() - self._last)
        self.left -= 1
        if not self.left:
            raise Enough


def ours(folder: Path, data: Path, bits: int, clock: Clock) -> None:
    """Train by the hub's loop, saving after every fourth step."""
    from services.runtime.encoding import Encoder  # noqa: PLC0415  after prepare
    from services.runtime.packed import load_packed  # noqa: PLC0415
    from services.runtime.rows import read_rows  # noqa: PLC0415
    from services.trainer.recipe import Recipe  # noqa: PLC0415
    from services.trainer.worker import loop  # noqa: PLC0415
    from services.trainer.worker.checkpoint import Checkpoints  # noqa: PLC0415

    model, tokenizer, _ = load_packed(folder, bits) if bits else load_base(folder)
    recipe = Recipe(
        RANK, RATE, 1000, BATCH, lora_scale=SCALE, quantize_bits=bits, checkpoint_every_steps=4
    )
    encoder = Encoder(tokenizer, mask_prompt=True, max_length=LENGTH)
    rows = read_rows(data, hashlib.sha256(data.read_bytes()).hexdigest())
    trainer = loop.Trainer(model, recipe, [encoder.encode(row) for row in rows], [])
    padded = loop.pad

    def pad(examples: Any) -> Any:
        clock.batch(sum(len(example.tokens) for example in examples))
        return padded(examples)

    class Ear:
        poll = validation = checkpoint = lambda *_: None
        step = clock.step

    loop.pad = pad
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        checkpoints = Checkpoints(Path(name), "bench", kept=2)

        def save() -> None:
            start = time.perf_counter()
            checkpoints.save(trainer)
            clock.saves.append(time.perf_counter() - start)

        reset()
        trainer.run(Ear(), save)


def peer(folder: Path, data: Path, bits: int, clock: Clock) -> None:
    """Train by mlx-lm's own loop, datasets and batches."""
    import mlx.core as mx  # noqa: PLC0415  after prepare
    import mlx.optimizers as optim  # noqa: PLC0415
    from mlx_lm.tuner import trainer  # noqa: PLC0415
    from mlx_lm.tuner.datasets import CacheDataset, ChatDataset  # noqa: PLC0415
    from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: PLC0415

    if bits:
        # As stored, but for the scales: 16-bit floats would make it many times slower yet.
        model, config = load_lazily(folder)
        model.set_dtype(mx.float32)
        mx.eval(model.parameters())
        tokenizer = load_tokenizer(folder, config.get("eos_token_id"))
    else:
        model, tokenizer, _ = load_base(folder)
    model.freeze()
    linear_to_lora_layers(model, 0, {"rank": RANK, "scale": SCALE, "dropout": 0.0})
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    dataset = CacheDataset(ChatDataset(rows, tokenizer, mask_prompt=True))

    def batches(*args: Any, **options: Any) -> Any:
        for batch, lengths in trainer.iterate_batches(*args, **options):
            clock.batch(int(lengths[:, 1].sum().item()))
            yield batch, lengths

    class Ear:
        on_train_loss_report = clock.step

    with tempfile.TemporaryDirectory() as name:
        arguments = trainer.TrainingArgs(
            batch_size=BATCH, iters=10**6, steps_per_report=1, max_seq_length=LENGTH,
            steps_per_save=10**6, adapter_file=str(Path(name) / "adapters.safetensors"),
        )  # fmt: skip
        reset()
        trainer.train(
            model, optim.AdamW(RATE), dataset, None, arguments,
            iterate_batches=batches, training_callback=Ear(),
        )  # fmt: skip


def reset() -> None:
    """Forget what loading took."""
    import mlx.core as mx  # noqa: PLC0415  after prepare

    mx.clear_cache()
    mx.reset_peak_memory()


def main() -> None:
    """Print what one side took, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["ours", "mlx-lm"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--bits", type=int, default=0)
    options = parser.parse_args()
    blas = prepare()
    import mlx.core as mx  # noqa: PLC0415  after prepare

    clock = Clock(options.steps)
    try:
        train = ours if options.side == "ours" else peer
        train(options.folder, options.data, options.bits, clock)
    except Enough:
        pass
    found = {
        "tokens": clock.tokens[: len(clock.seconds)],
        "seconds": clock.seconds,
        "saves": clock.saves,
        "peak": mx.get_peak_memory(),
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "blas": blas.redirected,
        "cpu": on_cpu(),
    }
    assert all(map(math.isfinite, found["seconds"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
