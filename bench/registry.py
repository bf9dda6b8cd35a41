"""The registry with 100 and with 100,000 models, call by call in turn, through the gateway.

    .venv/bin/python -m bench.registry [--json FILE]

Both sizes run at once, each with its own database, registry and gateway, and every round asks
both: what slows the machine down slows both. The floor is what a call costs without a database.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from services.stack.plan import python
from services.stack.ports import free_port
from services.stack.postgres import Postgres
from services.stack.processes import Process

SIZES = (100, 100_000)
ROUNDS = 300
SEED = """
INSERT INTO registry.base_models
  (name, digest, model_type, parameters, size_bytes, context_length, artifact_path, files)
VALUES ('base', repeat('a', 64), 'llama', 1, 1, 512, 'base/none', '[]');
INSERT INTO registry.models (name, task_type, description, base_model_id, tags)
SELECT 'model-' || lpad(n::text, 6, '0'), 'text-generation', 'Made by bench/registry.py.', 1,
  jsonb_build_object('team', 'team-' || n %% 10, 'rare', (n %% (%(size)s / 10))::text)
FROM generate_series(1, %(size)s) AS n;
INSERT INTO registry.model_events (model_id, type, details)
SELECT id, 'created', '{"base_model": "base"}' FROM registry.models, generate_series(1, 3);
INSERT INTO registry.outbox (model_id, delivered_at) SELECT id, now() FROM registry.models;
"""


@dataclass
class Hub:
    """One registry behind one gateway, and a connection that stays open."""

    size: int
    connection: http.client.HTTPConnection
    middle: str = ""
    """The token of a page in the middle of the list."""

    def call(self, verb: str, path: str, body: object = None, expected: int | None = None) -> Any:
        """Make one REST call; any other answer than a success or `expected` ends the benchmark."""
        text = None if body is None else json.dumps(body)
        self.connection.request(verb, path, text, {"content-type": "application/json"})
        reply = self.connection.getresponse()
        answer = json.loads(reply.read())
        if reply.status >= 300 and reply.status != expected:
            raise SystemExit(f"{verb} {path} answered {reply.status}: {answer}")
        return answer


_numbers = itertools.count(1)
_random = random.Random(7)  # noqa: S311 (which model is asked for)
CALLS: dict[str, Callable[[Hub], object]] = {
    "floor: GET /models/0, refused": lambda hub: hub.call("GET", "/models/0", expected=400),
    "GET /models/{id}": lambda hub: hub.call("GET", f"/models/{_random.randint(1, hub.size)}"),
    "GET /models, first 50": lambda hub: hub.call("GET", "/models"),
    "GET /models, 50 in the middle": lambda hub: hub.call("GET", f"/models?{hub.middle}"),
    "GET /models, 10 by name prefix": lambda hub: hub.call(
        "GET", f"/models?name_prefix=model-{_random.randint(0, hub.size // 10 - 1):05d}"
    ),
    "GET /models, 10 by tag": lambda hub: hub.call(
        "GET", f"/models?tag=rare%3D{_random.randint(0, hub.size // 10 - 1)}"
    ),
    "GET /models/{id}/history": lambda hub: hub.call(
        "GET", f"/models/{_random.randint(1, hub.size)}/history"
    ),
    "POST /models": lambda hub: hub.call(
        "POST", "/models", {"name": f"new-{next(_numbers)}", "base_model": "base"}
    ),
    "PATCH /models/{id}": lambda hub: hub.call(
        "PATCH",
        f"/models/{_random.randint(1, hub.size)}",
        {"description": f"Changed {next(_numbers)} times."},
    ),
}


@contextlib.contextmanager
def hub(server: Postgres, home: Path, size: int) -> Iterator[Hub]:
    """Run a registry with so many models, and a gateway in front of it."""
    name = f"bench_{size}"
    server.ensure_database(name)
    names = ("", "REGISTRY_", "REGISTRY_METRICS_")
    ports = {key: free_port(set()) for key in names}
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLX_HUB_", "MLFLOW_"))},
        **{f"MLX_HUB_{key}PORT": str(port) for key, port in ports.items()},
        "MLX_HUB_HOME": str(home / name),
        "DATABASE_URL": server.url(name),
        "LOG_LEVEL": "WARNING",
    }
    subprocess.run(python("migrations", "upgrade"), env=env, check=True, stdout=sys.stderr)
    url = server.url(name).replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(SEED, {"size": size})
        connection.execute("VACUUM (ANALYZE)")
    modules = ("services.registry", "gateway")
    processes = [Process(m, python(m), home / f"{name}-{m}.log", env=env) for m in modules]
    try:
        for process in processes:
            process.start()
        yield _opened(size, ports[""])
    finally:
        for process in reversed(processes):
            process.stop(10)


def _opened(size: int, port: int) -> Hub:
    """Wait until the gateway answers, and walk to the middle of the list."""
    here = Hub(size, http.client.HTTPConnection("127.0.0.1", port, timeout=30))
    deadline = time.monotonic() + 60
    while True:
        try:
            here.call("GET", "/models/1")
            break
        except (OSError, http.client.HTTPException, SystemExit):
            if time.monotonic() > deadline:
                raise
            here.connection.close()
            time.sleep(0.1)
    token, seen = "", 0
    while seen < size // 2:
        count = min(1000, size // 2)
        page = here.call("GET", f"/models?page_size={count}&page_token={token}")
        token, seen = page["next_page_token"], seen + count
    here.middle = f"page_token={token}"
    return here


def measure(hubs: list[Hub]) -> dict[str, list[list[float]]]:
    """Time every call against every hub in turn; give milliseconds by call and hub."""
    found: dict[str, list[list[float]]] = {}
    for name, call in CALLS.items():
        times: list[list[float]] = [[] for _ in hubs]
        for number in range(ROUNDS + 20):
            for here, mine in zip(hubs, times, strict=True):
                start = time.perf_counter()
                call(here)
                if number >= 20:
                    mine.append((time.perf_counter() - start) * 1000)
        found[name] = times
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="mlx-hub-bench-", ignore_cleanup_errors=True)
        home = Path(stack.enter_context(temporary))
        home.chmod(0o711)
        server = Postgres(home / "postgres", home / "postgres.log")
        server.start()
        stack.callback(server.stop)
        hubs = [stack.enter_context(hub(server, home, size)) for size in SIZES]
        found = measure(hubs)
    small, large = (f"{size:,} models" for size in SIZES)
    print(f"| p50 (p95), ms | {small} | {large} | ratio of p50 |\n|---|---|---|---|")
    for name, times in found.items():
        p50 = [statistics.median(mine) for mine in times]
        p95 = [statistics.quantiles(mine, n=20)[-1] for mine in times]
        cells = [f"{a:.2f} ({b:.2f})" for a, b in zip(p50, p95, strict=True)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {p50[1] / p50[0]:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
