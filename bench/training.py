"""Training, measured side by side in one run: the hub's loop and mlx-lm's `train`, in turn, each in
processes of its own.

    .venv/bin/python -m bench.training [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.stack.starter import starter_gguf

DATA = Path(__file__).parents[1] / "examples" / "ticket-triage.jsonl"
# Buffers fill and, at mlx-lm's, kernels are compiled.
WARM_UP = 4
STEPS = 12
# Without OpenBLAS, or with mlx's quantised product, a step takes most of a minute.
SLOW_STEPS = 2
CHECKPOINT_EVERY = 20


def side(name: str, folder: Path, steps: int, bits: int = 0, blas: str = "openblas") -> Any:
    """Run one side; mlx-lm's compiles its step, as it does by default."""
    words = [sys.executable, "-m", "bench.training_side", name, str(folder), str(DATA)]
    compiles = {"MLX_HUB_COMPILE": "1"} if name == "mlx-lm" else {}
    done = subprocess.run(
        [*words, "--steps", str(steps), "--bits", str(bits)],
        env={**os.environ, "MLX_HUB_BLAS": blas, **compiles},
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["blas"] == (blas == "openblas" and found["cpu"])
    return found


def rates(runs: list[Any], warm_up: int = WARM_UP) -> list[float]:
    """Give the real tokens per second of every step after the warm-up."""
    return [
        tokens / seconds
        for run in runs
        for tokens, seconds in list(zip(run["tokens"], run["seconds"], strict=True))[warm_up:]
    ]


def row(name: str, runs: list[Any], warm_up: int, floor: float, peak: float) -> str:
    """Print one row; ratios are to mlx-lm with the same method and the same BLAS."""
    rate = statistics.median(rates(runs, warm_up))
    high = max(run["peak"] for run in runs)
    cells = (f"{rate:.1f}", f"{rate / floor:.2f}", f"{high / 2**20:.0f}", f"{high / peak:.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def measure(folder: Path, rounds: int) -> dict[str, list[Any]]:
    """Run all sides, the two that are compared in turn."""
    found: dict[str, list[Any]] = {"ours": [], "mlx-lm": []}
    for _ in range(rounds):
        for name, runs in found.items():
            runs.append(side(name, folder, WARM_UP + STEPS))
    found["ours, packed"] = [side("ours", folder, WARM_UP + STEPS, bits=4)]
    found["mlx-lm, packed"] = [side("mlx-lm", folder, SLOW_STEPS, bits=4)]
    found["mlx-lm, stock"] = [side("mlx-lm", folder, SLOW_STEPS, blas="stock")]
    return found


def report(found: dict[str, list[Any]]) -> None:
    """Print the tables."""
    print("| | real tok/s | of mlx-lm | peak MiB | of mlx-lm |\n|---|---|---|---|---|")
    slow = SLOW_STEPS - 1
    for kind, warm_up in (("", WARM_UP), (", packed", slow)):
        peers = found[f"mlx-lm{kind}"]
        floor = statistics.median(rates(peers, warm_up))
        peak = max(run["peak"] for run in peers)
        label = "QLoRA, 4-bit base" if kind else "LoRA, f32 base"
        print(row(f"{label}: hub", found[f"ours{kind}"], WARM_UP, floor, peak))
        print(row(f"{label}: mlx-lm train", peers, warm_up, floor, peak))
        if not kind:
            stock = found["mlx-lm, stock"]
            print(row(f"{label}: mlx-lm train, stock BLAS", stock, slow, floor, peak))
    saves = [seconds for run in found["ours"] for seconds in run["saves"]]
    steps = [seconds for run in found["ours"] for seconds in run["seconds"][WARM_UP:]]
    save, step = statistics.median(saves), statistics.median(steps)
    share = save / (CHECKPOINT_EVERY * step)
    print(f"\ncheckpoint {save * 1000:.0f} ms, step {step * 1000:.0f} ms (medians): "
          f"one every {CHECKPOINT_EVERY} steps costs {share:.1%}")  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx-hub-bench-") as name:
        folder = Path(name) / "base"
        convert = [sys.executable, "-m", "services.runtime.convert", str(starter_gguf())]
        subprocess.run([*convert, str(folder)], check=True, stdout=subprocess.DEVNULL)
        found = measure(folder, options.rounds)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
