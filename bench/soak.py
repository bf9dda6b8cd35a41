"""Jobs in a row through one stack, and the memory of each of its processes after every job.

    .venv/bin/python -m bench.soak [--jobs 30] [--json FILE]

The base model is the tiny one of the tests: what a service keeps of a job does not depend on the
model's size, and so a job takes seconds. Each has a seed of its own, so its report is made anew;
its version is then asked for an answer, so the engine loads its adapter. It ends with 1 when the
supervisor or a service holds over 5 % more than after the fifth job. More jobs show slower leaks.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
from mlx_hub.client import Hub

from bench.serving import stack
from tests.fixtures.rows import ROWS
from tests.fixtures.tiny_model import write_tiny_model

EARLY = 5
LIMIT = 1.05
BARS = "▁▂▃▄▅▆▇█"
# What a process is called here, by a word of its command line; the first that fits.
NAMES = {
    "services.registry.mlflow_sync": "MLflow mirror",
    "services.registry": "registry",
    "services.trainer.worker": "training child",
    "services.trainer": "trainer",
    "services.inference.engine": "engine",
    "services.inference": "inference",
    "services.runtime.report": "reporting child",
}
JUDGED = ("supervisor", "registry", "trainer", "inference")
type Memory = dict[str, float]
type Samples = list[dict[str, Memory]]


def sample(supervisor: psutil.Process) -> dict[str, Memory]:
    """Give what each part holds now, in bytes; Postgres is the sum of its processes."""
    found: dict[str, Memory] = defaultdict(lambda: defaultdict(float))
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            name = "supervisor" if process == supervisor else _name(process)
            memory = process.memory_full_info()
            for kind in ("rss", "uss", "pss"):
                found[name][kind] += getattr(memory, kind, 0)  # PSS is Linux's alone
    return {name: dict(memory) for name, memory in found.items()}


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    for word, name in NAMES.items():
        if word in words:
            return name
    return {"envoy": "gateway"}.get(process.name(), process.name())


def do_job(hub: Hub, model: int, dataset: int, seed: int) -> None:
    """Train a version and ask it something."""
    job = hub.jobs.create(
        model, dataset, seed=seed, epochs=1, lora_rank=4, checkpoint_every_steps=2
    )
    *_, last = hub.jobs.watch(job.id, after_sequence=0)
    if not last.job.version:
        raise SystemExit(f"job {job.id} ended without a version: {last.job.error.message}")
    question = [{"role": "user", "content": f"say {seed}"}]
    hub.generate(model, messages=question, max_tokens=8, version=last.job.version)


def soak(jobs: int) -> tuple[Samples, list[float]]:
    """Run the jobs; give the memory after each, and how long each took."""
    samples: Samples = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory(prefix="mlx-hub-tiny-") as folder:
        write_tiny_model(Path(folder))
        imported = ("models", "import", folder, "--name", "tiny")
        with stack(imported) as (home, ports), Hub(f"127.0.0.1:{ports['gateway']}") as hub:
            supervisor = psutil.Process(int((home / "run" / "lock").read_text()))
            data = home / "datasets" / "rows.jsonl"
            data.parent.mkdir(parents=True, exist_ok=True)
            data.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n")
            dataset = hub.datasets.create("rows", data.name).id
            model = hub.models.create("soak", "tiny").id
            for seed in range(1, jobs + 1):
                start = time.monotonic()
                do_job(hub, model, dataset, seed)
                seconds.append(time.monotonic() - start)
                samples.append(sample(supervisor))
                print(f"job {seed} of {jobs}: {seconds[-1]:.1f} s", file=sys.stderr)
    return samples, seconds


def curve(values: list[float | None], width: int = 30) -> str:
    """Draw values from the least to the most; a gap is where the process was not there."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    if len(values) > width:
        values = [values[len(values) * n // width] for n in range(width)]
    span = (high - low) or 1.0
    return "".join(
        " " if value is None else BARS[min(7, int((value - low) / span * 8))] for value in values
    )


def row(name: str, samples: Samples) -> dict[str, Any]:
    """Give a part's numbers: resident, and its own pages alone."""
    series: dict[str, list[float | None]] = {
        kind: [s[name].get(kind) if name in s else None for s in samples]
        for kind in ("rss", "uss", "pss")
    }
    ratios = {
        kind: values[-1] / early if (early := values[EARLY - 1]) and values[-1] else None
        for kind, values in series.items()
    }
    return {"name": name, **series, "ratios": ratios}


def report(rows: list[dict[str, Any]], jobs: int) -> None:
    """Print the table."""
    moments = (1, EARLY, jobs)
    heads = " | ".join(f"job {n}, MiB" for n in moments)
    print(f"| resident after | {heads} | {jobs} / {EARLY} | PSS, {jobs} / {EARLY} | curve |")
    print("|---" * (len(moments) + 4) + "|")
    for here in rows:
        values = [here["rss"][n - 1] for n in moments]
        cells = ["-" if v is None else f"{v / 2**20:.1f}" for v in values]
        cells += ["-" if (r := here["ratios"][k]) is None else f"{r:.3f}" for k in ("rss", "pss")]
        print(f"| {here['name']} | {' | '.join(cells)} | `{curve(here['rss'])}` |")


def main() -> int:
    """Print the table; give 1 when something grew."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.jobs <= EARLY:
        parser.error(f"--jobs must be over {EARLY}: memory is compared with that after job {EARLY}")
    samples, seconds = soak(options.jobs)
    names = dict.fromkeys((*JUDGED, *(name for s in samples for name in s)))
    rows = [row(name, samples) for name in names]
    report(rows, options.jobs)
    if options.json:
        options.json.write_text(json.dumps({"seconds": seconds, "parts": rows}) + "\n")
    grown = [r["name"] for r in rows if r["name"] in JUDGED and r["ratios"]["rss"] > LIMIT]
    print(
        f"\n{', '.join(grown) or 'nothing'} grew by more than {LIMIT - 1:.0%}; {sum(seconds):.0f} s"
    )
    return 1 if grown else 0


if __name__ == "__main__":
    raise SystemExit(main())
