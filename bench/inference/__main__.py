"""The command: start every side, measure row by row, print the tables."""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mlx_hub.client import Hub as Client

from bench.inference import __doc__ as about
from bench.inference import prompts, random7b, rows, servers, table, waits
from bench.inference.sides import Hub, Local, together
from bench.serving import BASE, stack

ROWS: dict[str, rows.Row] = {
    "single": rows.single, "crowd": rows.crowd, "edge": waits.edge, "stall": waits.stall,
    "prefix": waits.prefix, "mixed": rows.mixed, "switch": waits.switch, "drafting": rows.drafted,
}  # fmt: skip
# Eight streams and a long prompt must fit beside each other.
ROOM = {"MLX_HUB_MAX_ROWS": "16", "MLX_HUB_KV_TOKENS": "65536"}
ADAPTERS = 4


@contextlib.contextmanager
def everything(only: list[str], without: list[str]) -> Iterator[rows.Sides]:
    """Start the sides on the starter model; stop them in the end."""
    with contextlib.ExitStack() as stays:
        folder = Path(stays.enter_context(tempfile.TemporaryDirectory(prefix="mlx-hub-bench-")))
        home, ports = stays.enter_context(stack(settings=ROOM))
        client = stays.enter_context(Client(f"127.0.0.1:{ports['gateway']}"))
        model, base = client.models.create("bench", BASE).id, next(client.models.base_models())
        packed = home / "artifacts" / "archive" / base.artifact_path
        dense = folder / "dense"
        _child("bench.inference.dense", str(packed), str(dense))
        adapters = prompts.adapters(dense, folder, ADAPTERS)
        versions = [_import(home, adapter, base.digest) for adapter in adapters]
        hub = Hub(ports["gateway"], model)
        hub.ask(prompts.story(), 4)
        together(hub, rows.many(), 2)
        server = stays.enter_context(servers.mlx_lm_server(dense, stock=False))
        slow = None
        if "stock" not in without and "crowd" in only:
            slow = stays.enter_context(servers.mlx_lm_server(dense, stock=True))
        llama = None
        if "llama" not in without and servers.has_llama():
            llama = stays.enter_context(servers.llama_server(_gguf()))
        local = Local(packed)
        stays.callback(local.close)
        local.stream(prompts.story(), 4)
        yield rows.Sides(hub, local, server, slow, llama, dense, versions, adapters)


def _gguf() -> Path:
    from services.stack.starter import starter_gguf  # noqa: PLC0415  needs the starter's wheel

    return starter_gguf()


def _import(home: Path, adapter: Path, digest: str) -> int:
    words = ["versions", "import", str(adapter), "--model", "bench", "--base-digest", digest]
    done = subprocess.run(
        [sys.executable, "-m", "mlx_hub.cli", *words, "--json"],
        env={**os.environ, "MLX_HUB_HOME": str(home)}, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return int(json.loads(done.stdout)["version"])


def _child(*words: str) -> None:
    subprocess.run([sys.executable, "-m", *words], check=True)


def main() -> int:
    """Measure what was asked for; exit with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(
        "bench.inference", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW",
                        help=f"rows to measure, of {', '.join(ROWS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of each row; default 5")
    parser.add_argument("--without", nargs="+", choices=("stock", "llama"), default=[],
                        metavar="PEER", help="leave out mlx_lm.server on its stock BLAS, llama.cpp"
                        )  # fmt: skip
    parser.add_argument("--random-7b", action="store_true", help="the GPU's rows alone")
    parser.add_argument("--json", type=Path, help="where to write all samples")
    options = parser.parse_args()
    found: rows.Found = []
    if options.random_7b:
        found = random7b.measure(options.rounds)
    else:
        with everything(options.only, options.without) as sides:
            for name in options.only:
                start = time.monotonic()
                found += ROWS[name](sides, options.rounds)
                print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(table.report(found))
    if options.json:
        options.json.write_text(json.dumps(table.as_json(found), indent=2) + "\n")
    return int(not all(line.met for line in found if isinstance(line, table.Line)))


if __name__ == "__main__":
    raise SystemExit(main())
