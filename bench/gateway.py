"""What the gateway costs: calls and streams through it and past it, in turn, in one run.

    .venv/bin/python -m bench.gateway [--json FILE]

The tests' tiny model makes the stream; both ways are asked by blocking clients of one thread.
"""

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from mlx_hub.client import Hub
from mlx_hub.inference.v1 import generation_pb2 as inference_pb
from mlx_hub.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from mlx_hub.registry.v1 import registry_service_pb2 as registry_pb
from mlx_hub.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

from bench.serving import stack
from tests.fixtures.tiny_model import EOS, write_tiny_model

CALLS = 1000
STREAMS, TOKENS, ROUNDS = 200, 1000, 7
CROWD_TOKENS = 64
SETTINGS = {"MLX_HUB_QUEUE_LIMIT": "256", "LOG_LEVEL": "WARNING"}
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measure: str
    direct: str
    gateway: str
    value: float
    bar: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Tell whether the bar is."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def body(model: int, tokens: int) -> dict[str, Any]:
    """Ask for exactly so many tokens."""
    return {
        "model_id": model,
        "prompt": "Go on: ",
        "max_tokens": tokens,
        "logit_bias": {str(EOS): -100},
        "drafting": False,
    }


def unary(ports: dict[str, Any], model: int) -> list[Row]:
    """Ask for one model, directly, over gRPC through the gateway, and over REST."""
    request = registry_pb.GetModelRequest(model_id=model)
    rest = http.client.HTTPConnection("127.0.0.1", ports["gateway"])

    def by_rest() -> object:
        rest.request("GET", f"/models/{model}")
        return json.loads(rest.getresponse().read())["id"]

    with (
        grpc.insecure_channel(f"127.0.0.1:{ports['registry']}") as near,
        grpc.insecure_channel(f"127.0.0.1:{ports['gateway']}") as far,
    ):
        direct, through = RegistryServiceStub(near).GetModel, RegistryServiceStub(far).GetModel
        ways: tuple[Callable[[], object], ...] = (
            lambda: direct(request),
            lambda: through(request),
            by_rest,
        )
        times: tuple[list[float], ...] = ([], [], [])
        for number in range(CALLS + 100):
            for way, mine in zip(ways, times, strict=True):
                start = time.perf_counter()
                way()
                if number >= 100:
                    mine.append((time.perf_counter() - start) * 1000)
    floor, *others = (statistics.median(mine) for mine in times)
    return [
        Row(f"GetModel, {name}: p50", f"{floor:.2f} ms", f"{p50:.2f} ms", p50 / floor, 2)
        for name, p50 in zip(("REST", "gRPC"), reversed(others), strict=True)
    ]


def rate(moments: list[float]) -> float:
    """Give messages a second, after the first."""
    return (len(moments) - 1) / (moments[-1] - moments[0])


def by_grpc(port: int, model: int) -> float:
    """Read one stream over gRPC."""
    fields = body(model, TOKENS) | {"logit_bias": {EOS: -100}}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = InferenceServiceStub(channel).StreamGenerate(inference_pb.GenerateRequest(**fields))
        return rate([time.perf_counter() for _ in call])


def by_sse(port: int, model: int) -> float:
    """Read one stream over server-sent events."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/inference/stream", json.dumps(body(model, TOKENS)), JSON)
    lines = connection.getresponse()
    return rate([time.perf_counter() for line in lines if line.startswith(b"data: ")])


def streams(ports: dict[str, Any], model: int) -> list[Row]:
    """Read streams of single tokens past the gateway and through it, in turn."""
    ways: dict[str, Callable[[], float]] = {
        "direct": lambda: by_grpc(ports["inference"], model),
        "SSE": lambda: by_sse(ports["gateway"], model),
        "gRPC": lambda: by_grpc(ports["gateway"], model),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(way())
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    floor = medians.pop("direct")
    return [
        Row(
            f"one stream, {name}",
            f"{floor:.0f} messages/s",
            f"{mine:.0f} messages/s",
            mine / floor,
            0.75,
            at_least=True,
        )
        for name, mine in medians.items()
    ]


def whole(port: int, model: int) -> bool:
    """Read one of many streams; tell whether every token and the last frame came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    text = json.dumps(body(model, CROWD_TOKENS))
    connection.request("POST", "/inference/stream", text, JSON)
    lines = connection.getresponse()
    frames = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    last = frames[-1].get("completion", {}) if frames else {}
    seen = "".join(frame.get("delta", {}).get("text", "") for frame in frames)
    return last.get("tokens") == CROWD_TOKENS and seen == last["text"]


def crowd(ports: dict[str, Any], model: int) -> Row:
    """Read many streams at once."""
    with ThreadPoolExecutor(STREAMS) as pool:
        asked = [pool.submit(whole, ports["gateway"], model) for _ in range(STREAMS)]
        came = sum(future.result() for future in asked)
    name = f"{STREAMS} streams at once, SSE"
    return Row(name, f"{STREAMS} asked", f"{came} whole", came, STREAMS, at_least=True)


def main() -> int:
    """Print the table; exit with 1 where a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_tiny_model(Path(name))
        before = ("models", "import", name, "--name", "tiny")
        with stack(before, SETTINGS) as (_, ports), Hub(f"127.0.0.1:{ports['gateway']}") as hub:
            model = hub.models.create("gateway", "tiny").id
            hub.generate(model, "Load it.", max_tokens=1)
            rows = [*unary(ports, model), *streams(ports, model), crowd(ports, model)]
    print("| | directly | through the gateway | is | bar | |\n|---|---|---|---|---|---|")
    for row in rows:
        bar = f"{'≥' if row.at_least else '≤'} {row.bar:g}"
        verdict = "met" if row.met else "missed"
        cells = (row.measure, row.direct, row.gateway, f"{row.value:.2f}", bar, verdict)
        print(f"| {' | '.join(cells)} |")
    if options.json:
        found = {"rows": [asdict(row) for row in rows], "load": os.getloadavg()}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
