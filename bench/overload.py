"""Overload: four times as many requests as the hub can answer, open loop, after its peak.

    .venv/bin/python -m bench.overload [--seconds 60] [--tiny] [--json FILE]

Goodput is answers a second. First callers who each ask again once they are answered show the peak;
then requests come at random, four times as often, whether or not they are answered, most of them
from one caller. Ends with 1 when goodput falls below 90 % of the peak, or the 99th percentile of
the refusals' times is above 50 ms.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from mlx_hub.client import Hub
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc

from bench.serving import BASE, PROMPT, stack
from tests.fixtures.tiny_model import write_tiny_model

ROWS = 8
FACTOR = 4
PATIENCE_S = 120
# Shares of the arrivals by caller.
CALLERS = {"flood": 7, "ann": 1, "bob": 1, "eve": 1}


@dataclass
class Seen:
    """What became of the requests of one phase."""

    seconds: float = 0
    answers: Counter[str] = field(default_factory=Counter)
    refusals: list[float] = field(default_factory=list)
    """Milliseconds each took."""
    others: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    floor: list[float] = field(default_factory=list)
    """Milliseconds that requests took which the service refuses by their fields alone."""

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.answers.total() / self.seconds


class Load:
    """Callers of one model through the gateway."""

    def __init__(self, port: int, request: pb.GenerateRequest) -> None:
        """Open a connection for each caller."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channels = {
            name: grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for name in CALLERS
        }
        self._stubs = {n: pb_grpc.InferenceServiceStub(c) for n, c in self._channels.items()}
        self._request = request

    async def ask(self, caller: str, seen: Seen) -> None:
        """Ask once, and note how it ended."""
        started = time.perf_counter()
        seen.asked[caller] += 1
        metadata = (("x-mlx-hub-caller", caller),)
        try:
            await self._stubs[caller].Generate(self._request, timeout=PATIENCE_S, metadata=metadata)
            seen.answers[caller] += 1
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                seen.refusals.append((time.perf_counter() - started) * 1000)
            else:
                seen.others[error.code().name] += 1

    async def peak(self, seconds: float) -> Seen:
        """Keep every row busy: one and a half callers for each."""
        seen = Seen()

        async def work(caller: str) -> None:
            while True:
                await self.ask(caller, seen)

        names = [name for name in CALLERS for _ in range(ROWS * 3 // 2 // len(CALLERS))]
        working = [asyncio.create_task(work(name)) for name in names]
        return await self._measured(seen, working, seconds, warm_up=seconds / 4)

    async def overload(self, rate: float, seconds: float) -> Seen:
        """Let requests arrive at random, so many a second."""
        seen, waiting = Seen(), set[asyncio.Task[None]]()

        async def arrive() -> None:
            due = time.perf_counter()
            while True:
                due += random.expovariate(rate)
                await asyncio.sleep(max(0, due - time.perf_counter()))
                (caller,) = random.choices(list(CALLERS), list(CALLERS.values()))  # noqa: S311
                task = asyncio.create_task(self.ask(caller, seen))
                waiting.add(task)
                task.add_done_callback(waiting.discard)

        working = [asyncio.create_task(work) for work in (arrive(), self._probe(seen))]
        found = await self._measured(seen, working, seconds, warm_up=seconds / 4)
        for task in waiting:
            task.cancel()
        return found

    async def _probe(self, seen: Seen) -> None:
        """Show what any refusal costs on this machine, whoever decides it."""
        while True:
            started = time.perf_counter()
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._stubs["ann"].Generate(pb.GenerateRequest(model_id=-1))
            seen.floor.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.05)

    async def _measured(
        self, seen: Seen, working: list[asyncio.Task[None]], seconds: float, warm_up: float
    ) -> Seen:
        await asyncio.sleep(warm_up)
        for counted in (seen.answers, seen.others, seen.asked, seen.refusals, seen.floor):
            counted.clear()
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        found = Seen(
            time.perf_counter() - started,
            Counter(seen.answers),
            list(seen.refusals),
            Counter(seen.others),
            Counter(seen.asked),
            list(seen.floor),
        )
        for task in working:
            task.cancel()
        return found

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()


async def measure(port: int, request: pb.GenerateRequest, seconds: float) -> tuple[Seen, Seen]:
    """Give what was seen at the peak and under overload."""
    load = Load(port, request)
    try:
        await load.ask("ann", Seen())  # loads the model
        peak = await load.peak(seconds)
        await asyncio.sleep(2)
        return peak, await load.overload(FACTOR * peak.goodput, seconds)
    finally:
        await load.close()


def percentiles(times: list[float]) -> tuple[float, float]:
    """Give the median and the 99th percentile."""
    ordered = sorted(times) or [0.0]
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def report(peak: Seen, over: Seen) -> dict[str, Any]:
    """Print the table and give its numbers."""
    p50, p99 = percentiles(over.refusals)
    floor50, floor99 = percentiles(over.floor)
    ratio = over.goodput / peak.goodput
    found = {
        "peak answers/s": peak.goodput,
        "arrivals/s": over.asked.total() / over.seconds,
        "answers/s": over.goodput,
        "goodput of peak": ratio,
        "refusals": len(over.refusals),
        "refusal p50, ms": p50,
        "refusal p99, ms": p99,
        "floor p50, ms": floor50,
        "floor p99, ms": floor99,
        "other errors": over.others.total(),
    }
    print("| | |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.2f} |" if isinstance(value, float) else f"| {name} | {value} |")
    print("\n| caller | asked | answered |\n|---|---|---|")
    for caller in CALLERS:
        print(f"| {caller} | {over.asked[caller]} | {over.answers[caller]} |")
    by_caller = {c: [over.asked[c], over.answers[c]] for c in CALLERS}
    return {**found, "asked and answered by caller": by_caller, "load": os.getloadavg()}


def main() -> int:
    """Run a stack and measure it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tiny", action="store_true", help="the tests' tiny base model")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        before: tuple[str, ...] = ()
        if options.tiny:
            write_tiny_model(Path(name))
            before = ("models", "import", name, "--name", "tiny")
        with stack(before) as (_, ports), Hub(f"127.0.0.1:{ports['gateway']}") as hub:
            model = hub.models.create("overload", "tiny" if options.tiny else BASE).id
            request = pb.GenerateRequest(model_id=model, prompt=PROMPT, max_tokens=options.tokens)
            peak, over = asyncio.run(measure(int(ports["gateway"]), request, options.seconds))
    found = report(peak, over)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(found["goodput of peak"] < 0.9 or found["refusal p99, ms"] > 50)


if __name__ == "__main__":
    raise SystemExit(main())
