"""The rows of the table that are about waiting: first tokens, and gaps between tokens."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from bench.inference import prompts
from bench.inference.rows import STREAMS, Found, Sides
from bench.inference.sides import Answer, Hub, Side
from bench.inference.table import Line, Note, median, percentile

LONG, PREFIX, CHUNK = 2000, 1000, 64
ENOUGH = 8
"""Tokens of each stream before the long prompt arrives."""


def edge(sides: Sides, rounds: int) -> Found:
    """Compare the first token at the gateway with the engine's own clock, idle."""
    added = []
    for _ in range(rounds * 8):
        answer = sides.hub.ask(prompts.short(), 2)
        added.append(answer.ttft_ms - answer.engine_ttft_ms)
    name = "first token at the gateway minus the engine's own, p50 idle"
    shown = f"{median(added):.1f} ms"
    samples = {"added": added}
    return [Line(name, shown, "", median(added), 8, False, unit=" ms", samples=samples)]


def stall(sides: Sides, rounds: int) -> Found:
    """Let a long prompt arrive amid streams: how much longer is the gap between their tokens."""
    ours, theirs, firsts = [], [], []
    chunks = [_chunk(sides.hub) for _ in range(min(rounds, 3))]
    for _ in range(rounds):
        gap, first = _stalled(sides.hub)
        ours.append(gap)
        firsts.append(first)
        theirs.append(_stalled(sides.server)[0])
    name = f"gap between tokens, p99, {STREAMS} streams and a {LONG}-token prompt, minus idle"
    samples = {"ours": ours, "theirs": theirs, "chunks": chunks, "long_first_ms": firsts}
    chunk, gap, peer = median(chunks), median(ours), median(theirs)
    shown, other = f"{gap:.0f} ms", f"{peer:.0f} ms"
    return [
        Line(f"{name}, vs one chunk", shown, f"{chunk:.0f} ms", gap / chunk, 1, False),
        Line(f"{name}, vs mlx_lm.server", shown, other, gap / peer, 0.5, False, samples=samples),
    ]


def _chunk(hub: Hub) -> float:
    """Give the milliseconds that a chunk takes alone, as deep as the long prompt ends."""
    part = 8 * CHUNK
    whole, less = (hub.ask(prompts.long(n), 1).engine_ttft_ms for n in (LONG, LONG - part))
    return (whole - less) * CHUNK / part


def _stalled(side: Side) -> tuple[float, float]:
    """Give p99 of the gaps while the prompt is read minus the idle median, and its first token."""
    leave, streams = threading.Event(), [Answer() for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        running = {pool.submit(side.ask, prompts.story(), 1000, a, leave): a for a in streams}
        try:
            while any(len(a.moments) < ENOUGH and not each.done() for each, a in running.items()):
                time.sleep(0.02)
            long = side.ask(prompts.long(LONG), 1)
        finally:
            leave.set()
        for each in running:
            each.result()
    gaps = [pair for answer in streams for pair in pairwise(answer.moments)]
    begun = max(answer.moments[0] for answer in streams)
    idle = [b - a for a, b in gaps if a >= begun and b <= long.start]
    during = [b - a for a, b in gaps if b > long.start and a < long.moments[0]]
    return (percentile(during, 0.99) - median(idle)) * 1000, long.ttft_ms


def prefix(sides: Sides, rounds: int) -> Found:
    """Ask twice with the same long beginning: the second first token against the first."""
    named: dict[str, Side] = {"ours": sides.hub, "theirs": sides.server}
    if sides.llama:
        named["llama"] = sides.llama
    cold: dict[str, list[float]] = {name: [] for name in named}
    warm: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, side in named.items():
            shared = prompts.long(PREFIX)
            cold[name].append(side.ask(f"{shared}. What is a harbour?", 2).ttft_ms)
            warm[name].append(side.ask(f"{shared}. Where is the tower?", 2).ttft_ms)
    share = {name: median(warm[name]) / median(cold[name]) for name in named}
    name = f"second request with a shared {PREFIX}-token prefix: first token vs cold"
    samples = {f"{side} {kind}": values[side] for kind, values in
               (("cold", cold), ("warm", warm)) for side in named}  # fmt: skip
    shown, peer = (f"{median(warm[side]):.0f} of {median(cold[side]):.0f} ms"
                   for side in ("ours", "theirs"))  # fmt: skip
    found: Found = [
        Line(name, shown, "", share["ours"], 0.1, False, samples=samples),
        Line(
            f"{name}, vs mlx_lm.server's",
            f"{share['ours']:.3f}",
            f"{share['theirs']:.3f} ({peer})",
            share["ours"] / share["theirs"],
            1,
            False,
        ),
    ]
    if "llama" in share:
        found.append(Note("second first token vs cold", share["ours"], share["llama"], "ratio"))
    return found


def switch(sides: Sides, rounds: int) -> Found:
    """Change the adapter between two requests: how much later is the first token."""
    ours, theirs = [], []
    versions = [{"version": str(version)} for version in sides.versions[:2]]
    # It takes an adapter only beside a model that is named; its default one keeps its own.
    adapters = [{"model": str(sides.base), "adapters": str(f)} for f in sides.adapters[:2]]
    for _ in range(rounds):
        for _ in range(4):
            ours.append(_switched(sides.hub, versions))
        theirs.append(_switched(sides.server, adapters))
    if median(theirs) <= 0:
        raise SystemExit("mlx_lm.server did not switch adapters: there is nothing to compare with")
    name = "first token after switching adapter minus without a switch, vs mlx_lm.server's"
    shown, other = (f"{median(each):.0f} ms" for each in (ours, theirs))
    value = max(0.0, median(ours)) / median(theirs)
    return [Line(name, shown, other, value, 0.02, False, samples={"ours": ours, "theirs": theirs})]


def _switched(side: Side, options: list[dict[str, Any]]) -> float:
    """Ask the first adapter, then the second twice; give the cost of coming to it."""
    side.ask(prompts.short(), 2, **options[0])
    came, stayed = (side.ask(prompts.short(), 2, **options[1]).ttft_ms for _ in range(2))
    return came - stayed
