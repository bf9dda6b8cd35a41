"""The forecast of training's memory beside the measured peak of the real worker, recipe by recipe.

.venv/bin/python -m bench.memory [--model FOLDER] [--json FILE]
"""

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_hub.internal.v1 import worker_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2

from services.chassis.memory import runs_dense
from services.runtime.folder import inspect_model_folder
from services.runtime.frames import Frames
from services.runtime.shape import read_shape, read_weights
from services.stack.starter import starter_gguf
from services.trainer import messages
from services.trainer.forecast import Base, Batch, forecast

TRIAGE = Path(__file__).parents[1] / "examples" / "ticket-triage.jsonl"
JOB: dict[str, Any] = {
    "id": 1, "attempt": 1, "max_attempts": 1, "lora_rank": 8, "lora_scale": 20, "epochs": 1,
    "learning_rate": 1e-4, "batch_size": 4, "max_seq_length": 512, "mask_prompt": True,
    "checkpoint_every_steps": 100, "method": "TRAINING_METHOD_LORA", "grad_accumulation": 1,
    "optimizer": "TRAINING_OPTIMIZER_ADAMW", "schedule": "TRAINING_SCHEDULE_CONSTANT",
}  # fmt: skip
DORA = {"method": "TRAINING_METHOD_DORA"}
FULL = {"method": "TRAINING_METHOD_FULL", "lora_rank": 0, "lora_scale": 0}
LION, SGD = "TRAINING_OPTIMIZER_LION", "TRAINING_OPTIMIZER_SGD"


@dataclass(frozen=True)
class Case:
    """Some rows and a recipe."""

    name: str
    rows: list[dict[str, Any]]
    recipe: dict[str, Any] = field(default_factory=dict)


def short() -> list[dict[str, Any]]:
    """Give the example's first eight rows: 64 tokens at most, 22 of them trained."""
    return [json.loads(line) for line in TRIAGE.read_text().splitlines()[:8]]


def whole(tokens: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give four rows of plain text, every token of which is trained."""
    rows = [{"text": f"{n} " + "the " * (tokens + 50)} for n in range(4)]
    return rows, {"max_seq_length": tokens, "mask_prompt": False}


def masked(tokens: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give four rows of a long question and a short answer, which alone is trained."""
    rows = [_turns(f"{n} " + "the " * (tokens - 60)) for n in range(4)]
    return rows, {"max_seq_length": tokens}


def _turns(question: str) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "a short answer"}
    return {"messages": [{"role": "user", "content": question}, answer]}


def cases() -> Iterable[Case]:
    """List what is measured."""
    yield Case("LoRA", short())
    yield Case("LoRA, rank 64, dropout", short(), {"lora_rank": 64, "lora_dropout": 0.1})
    for tokens in (128, 256):
        rows, recipe = whole(tokens)
        yield Case(f"LoRA, 4 × {tokens}, all trained", rows, recipe)
    rows, recipe = masked(256)
    yield Case("LoRA, 4 × 256, masked", rows, recipe)
    yield Case("the same, q and v only", rows, {**recipe, "target_keys": ["q_proj", "v_proj"]})
    yield Case("the same, grad_checkpoint", rows, {**recipe, "grad_checkpoint": True})
    yield Case("QLoRA, 4 bits", short(), {"quantize_bits": 4})
    yield Case("QLoRA, 8 bits", short(), {"quantize_bits": 8})
    yield Case("QLoRA, 4 bits, 4 × 256, masked", rows, {**recipe, "quantize_bits": 4})
    yield Case("DoRA", short(), DORA)
    yield Case("DoRA, 4 bits", short(), {**DORA, "quantize_bits": 4})
    yield Case("DoRA, 4 × 256, masked", rows, {**recipe, **DORA})
    yield Case("full, adamw", short(), FULL)
    yield Case("full, sgd", short(), {**FULL, "optimizer": SGD})
    yield Case("full, lion, clipped", short(), {**FULL, "optimizer": LION, "grad_clip": 1.0})


def measure(base: Path, case: Case, folder: Path) -> tuple[float, Batch]:
    """Run the worker; give its peak and the batch that the forecast should be made for."""
    data = "\n".join(json.dumps(row) for row in case.rows).encode()
    dataset = folder / "rows.jsonl"
    dataset.write_bytes(data)
    command = pb.TrainCommand(
        job=_job(case),
        base_path=str(base),
        dataset_path=str(dataset),
        checkpoint_path=str(folder / "checkpoints"),
        output_path=str(folder / "adapter"),
        base_digest=inspect_model_folder(base).digest,
        dataset_digest=hashlib.sha256(data).hexdigest(),
    )
    ours, theirs = socket.socketpair()
    with theirs:
        worker = subprocess.Popen(
            [sys.executable, "-m", "services.trainer.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    frames, peak = Frames(ours), 0.0
    frames.write(pb.WorkerCommand(train=command))
    event = pb.WorkerEvent()
    while (told := frames.read(pb.WorkerEvent)) is not None:
        event = told
        peak = max(peak, event.step.step.peak_memory_bytes)
    frames.close()
    if worker.wait() or not event.HasField("finished"):
        raise SystemExit(f"{case.name}: {event.failed.message or 'the worker died'}")
    return peak, _batch(base, command)


def _job(case: Case) -> training_job_pb2.TrainingJob:
    return training_job_pb2.TrainingJob(**{**JOB, **case.recipe})


def _batch(base: Path, command: pb.TrainCommand) -> Batch:
    """Ask the reporter of datasets for the lengths, in a child like the registry's."""
    words = [sys.executable, "-m", "bench.memory", "--lengths", str(base)]
    done = subprocess.run(
        words, input=command.SerializeToString(), check=True, stdout=subprocess.PIPE
    )
    rows, longest, trained = json.loads(done.stdout.splitlines()[-1])
    return Batch(rows, longest, rows * trained)


def lengths(base: Path, command: pb.TrainCommand) -> list[int]:
    """Give the rows of a batch, and the tokens and trained tokens of the rows with the most."""
    from services.runtime.encoding import Encoder  # noqa: PLC0415  imports the tokenizers
    from services.runtime.model import load_tokenizer, prepare  # noqa: PLC0415
    from services.runtime.rows import read_rows  # noqa: PLC0415

    prepare()
    recipe = messages.recipe_from_proto(command.job)
    tokenizer = load_tokenizer(base)
    encoder = Encoder(tokenizer, mask_prompt=recipe.mask_prompt, max_length=recipe.max_seq_length)
    rows = read_rows(Path(command.dataset_path), command.dataset_digest)
    found = [encoder.encode(row) for row in rows]
    longest = max(len(example.tokens) for example in found)
    return [recipe.batch_size, longest, max(example.trained_tokens for example in found)]


def dense_copy(target: Path) -> None:
    """Write the starter model with dense bfloat16 weights: method full trains no packed ones."""
    convert = [sys.executable, "-m", "services.runtime.convert", str(starter_gguf())]
    packed = target.with_name("packed")
    subprocess.run([*convert, str(packed)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [sys.executable, "-m", "bench.memory", "--unpack", str(packed), str(target)], check=True
    )


def unpack(packed: Path, target: Path) -> None:
    """Make a packed folder's weights dense, in a process of its own."""
    from services.runtime.model import load_base  # noqa: PLC0415  imports MLX

    model, _, config = load_base(packed)
    import mlx.core as mx  # noqa: PLC0415  after prepare
    from mlx.utils import tree_flatten  # noqa: PLC0415

    target.mkdir()
    flat: Any = tree_flatten(model.parameters())
    arrays = {name: array.astype(mx.bfloat16) for name, array in flat}
    mx.save_safetensors(str(target / "model.safetensors"), arrays, metadata={"format": "mlx"})
    kept = {name: value for name, value in config.items() if not name.startswith("quantization")}
    (target / "config.json").write_text(json.dumps(kept))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (target / name).write_bytes((packed / name).read_bytes())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--lengths", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--unpack", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lengths:
        command = pb.TrainCommand.FromString(sys.stdin.buffer.read())
        print(json.dumps(lengths(options.lengths, command)))
    elif options.unpack:
        unpack(*options.unpack)
    else:
        compare(options.model, options.json)
    return 0


def compare(model: Path | None, output: Path | None) -> None:
    """Run every case and print the table."""
    found = []
    with tempfile.TemporaryDirectory(prefix="mlx-hub-bench-") as name:
        folder = Path(name)
        if model is None:
            model = folder / "dense"
            dense_copy(model)
        base = Base(read_shape(model), read_weights(model))
        print("| recipe | measured MiB | forecast MiB | ratio |\n|---|---|---|---|")
        for case in cases():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                peak, batch = measure(model, case, Path(work))
            recipe = messages.recipe_from_proto(_job(case))
            total = forecast(base, recipe, batch, dense=runs_dense()).total_bytes
            cells = f"{peak / 2**20:.0f} | {total / 2**20:.0f} | {total / peak:.2f}"
            print(f"| {case.name} | {cells} |", flush=True)
            found.append({"case": case.name, "peak": peak, "forecast": total})
    if output:
        output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
