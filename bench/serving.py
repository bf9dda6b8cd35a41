"""Serving, measured side by side in one run: the memory floor, mlx-lm alone, and the hub by every
door; then the hub while a job trains.

    .venv/bin/python -m bench.serving [--json FILE]
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlx_hub.client import Hub

PROMPT = "The history of the harbour begins long before the first map of the coast was drawn."
TOKENS = 48
ROUNDS = 5
BASE = "smollm2-135m-instruct"


def bandwidth() -> float:
    """Give the best streaming read in bytes a second over an array larger than the caches."""
    data = np.ones(64 * 1024 * 1024, dtype=np.float32)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        data.sum()
        best = max(best, data.nbytes / (time.perf_counter() - start))
    return best


def peer(folder: Path) -> dict[str, float]:
    """Measure mlx-lm's stream_generate in a process of its own, as its own user would run it."""
    code = (Path(__file__).parent / "peer_mlx_lm.py").read_text()
    words = [sys.executable, "-c", code, str(folder), PROMPT, str(TOKENS), str(ROUNDS)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextlib.contextmanager
def stack(
    before: Sequence[str] = (), settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Run a hub in a temporary home; with the starter model unless `before` imports another."""
    with tempfile.TemporaryDirectory(prefix="mlx-hub-bench-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o711)
        services = ("REGISTRY_", "TRAINER_", "INFERENCE_")
        names = ["", *services, *(f"{service}METRICS_" for service in services)]
        ports = {f"MLX_HUB_{name}PORT": "0" for name in names}
        environment = {**os.environ, **ports, "MLX_HUB_HOME": name, **(settings or {})}
        command = [sys.executable, "-m", "mlx_hub.cli"]
        if before:
            subprocess.run([*command, *before], env=environment, check=True)
        subprocess.run([*command, "up", "--detach"], env=environment, check=True)
        try:
            yield home, json.loads((home / "run" / "ports.json").read_text())
        finally:
            subprocess.run([*command, "down"], env=environment, check=True)


def measure(ask: Callable[[], Iterator[str]]) -> dict[str, float]:
    """Give medians of the time to first text (ms) and of the decode rate after it (pieces/s)."""
    firsts, rates = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        moments = [time.perf_counter() for _ in ask()]
        firsts.append((moments[0] - start) * 1000)
        rates.append((len(moments) - 1) / (moments[-1] - moments[0]))
    return {"ttft_ms": statistics.median(firsts), "tok_s": statistics.median(rates)}


def by_grpc(port: int, model: int) -> Callable[[], Iterator[str]]:
    """Ask over gRPC."""

    def ask() -> Iterator[str]:
        with (
            Hub(f"127.0.0.1:{port}") as hub,
            hub.stream(model, prompt=PROMPT, max_tokens=TOKENS, version="base") as stream,
        ):
            yield from stream

    return ask


def by_sse(port: int, model: int) -> Callable[[], Iterator[str]]:
    """Ask over REST and server-sent events."""
    body = {"model_id": model, "prompt": PROMPT, "max_tokens": TOKENS, "version": "base"}

    def ask() -> Iterator[str]:
        url = f"http://127.0.0.1:{port}/inference/stream"
        with urllib.request.urlopen(url, data=json.dumps(body).encode()) as reply:
            for line in reply:
                if b'"delta"' in line:
                    yield line.decode()

    return ask


def train(hub: Hub, home: Path, model: int) -> int:
    """Start a job that outlasts the measurement and give its id."""
    rows = [{"prompt": f"Say {n}.", "completion": f"It is {n}. " * 8} for n in range(400)]
    folder = home / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.jsonl").write_text("\n".join(json.dumps(r) for r in rows) + "\n")
    dataset = hub.datasets.create("bench", "bench.jsonl")
    job = hub.jobs.create(model, dataset.id, epochs=50, batch_size=4, validation_fraction=0)
    for event in hub.jobs.watch(job.id, after_sequence=0):
        if event.WhichOneof("event") == "step":
            break
    return int(job.id)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with stack() as (home, ports), Hub(f"127.0.0.1:{ports['gateway']}") as hub:
        model = hub.models.create("bench", BASE).id
        base = next(iter(hub.models.base_models()))
        folder = home / "artifacts" / "archive" / base.artifact_path
        results["floor (f32 weights once a token)"] = {
            "ttft_ms": 0,
            "tok_s": bandwidth() / (base.parameters * 4),
        }
        list(by_grpc(ports["inference"], model)())
        results["mlx-lm stream_generate, in process"] = peer(folder)
        results["hub, gRPC to the service"] = measure(by_grpc(ports["inference"], model))
        results["hub, gRPC through the gateway"] = measure(by_grpc(ports["gateway"], model))
        results["hub, SSE through the gateway"] = measure(by_sse(ports["gateway"], model))
        job = train(hub, home, model)
        results["hub, SSE, while a job trains"] = measure(by_sse(ports["gateway"], model))
        hub.jobs.cancel(job)
    reference = results["mlx-lm stream_generate, in process"]["tok_s"]
    print("| | time to first token, ms | tok/s | of mlx-lm |\n|---|---|---|---|")
    for name, row in results.items():
        share = row["tok_s"] / reference
        print(f"| {name} | {row['ttft_ms']:.0f} | {row['tok_s']:.1f} | {share:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
