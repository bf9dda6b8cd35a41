"""The rows of the table that ask one or many streams for tokens; each gives what it found."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.inference import prompts
from bench.inference.sides import Hub, Local, OpenAi, together
from bench.inference.table import Line, Note, median, ratio

STREAMS = 8
TOKENS, CROWD_TOKENS, STOCK_TOKENS, COPY_TOKENS = 48, 32, 16, 96


@dataclass
class Sides:
    """All that is asked in one run."""

    hub: Hub
    local: Local
    server: OpenAi
    stock: OpenAi | None
    llama: OpenAi | None
    base: Path
    """The dense base model that mlx_lm.server serves."""
    versions: list[int]
    adapters: list[Path]
    """The folders that the versions were imported from."""


type Found = list[Line | Note]
type Row = Callable[[Sides, int], Found]


def single(sides: Sides, rounds: int) -> Found:
    """Decode one stream at the gateway and by stream_generate."""
    ours, theirs, llama = [], [], []
    for _ in range(rounds):
        ours.append(sides.hub.ask(prompts.story(), TOKENS).rate)
        theirs.append(sides.local.stream(prompts.story(), TOKENS)["tok_s"])
        if sides.llama:
            llama.append(sides.llama.ask(prompts.story(), TOKENS).rate)
    name = "tokens/s, 1 stream, at the gateway (SSE) vs mlx_lm.stream_generate in process"
    found: Found = [ratio(name, ours, theirs, 0.95)]
    if llama:
        found.append(Note("tokens, 1 stream", median(ours), median(llama), "1/s", {"llama": llama}))
    return found


def crowd(sides: Sides, rounds: int) -> Found:
    """Decode eight streams at the gateway, by mlx_lm.server and by BatchGenerator."""
    ours, theirs, raw, stock, llama = [], [], [], [], []
    for _ in range(rounds):
        ours.append(together(sides.hub, many(), CROWD_TOKENS))
        theirs.append(together(sides.server, many(), CROWD_TOKENS))
        raw.append(sides.local.batch(many(), CROWD_TOKENS))
        if sides.stock:
            stock.append(together(sides.stock, many(), STOCK_TOKENS))
        if sides.llama:
            llama.append(together(sides.llama, many(), CROWD_TOKENS))
    name = f"aggregate tokens/s, {STREAMS} streams, at the gateway vs mlx_lm.server"
    line = ratio(name, ours, theirs, 1.15)
    if stock:
        line.stock, line.stock_bar = median(ours) / median(stock), 5
        line.peer += f" (stock {median(stock):.1f})"
        line.samples["stock"] = stock
    found: Found = [line, ratio("the same vs raw BatchGenerator", ours, raw, 0.95)]
    if llama:
        name = f"aggregate tokens, {STREAMS} streams"
        found.append(Note(name, median(ours), median(llama), "1/s", {"llama": llama}))
    return found


def mixed(sides: Sides, rounds: int) -> Found:
    """Decode eight streams of four adapters, and of one."""
    one, four = [], []
    first = [str(sides.versions[0])] * STREAMS
    turns = [str(version) for version in sides.versions] * (STREAMS // len(sides.versions))
    together(sides.hub, many(), 2, version=turns)  # all adapters come in
    for _ in range(rounds):
        one.append(together(sides.hub, many(), CROWD_TOKENS, version=first))
        four.append(together(sides.hub, many(), CROWD_TOKENS, version=turns))
    name = f"four adapters mixed in a batch of {STREAMS} vs one adapter in the batch"
    return [ratio(name, four, one, 0.8)]


def drafted(sides: Sides, rounds: int) -> Found:
    """Copy with drafting and without; the text must be the same."""
    plain, drafts = [], []
    for _ in range(rounds):
        prompt = prompts.copy()
        without = sides.hub.ask(prompt, COPY_TOKENS)
        found = sides.hub.ask(prompt, COPY_TOKENS, drafting=True)
        if found.text != without.text:
            raise SystemExit(f"drafting changed the text: {without.text!r} to {found.text!r}")
        plain.append(without.rate)
        drafts.append(found.rate)
    name = "decode, 1 stream, copy-heavy prompt, n-gram drafting on vs off, the same text"
    return [ratio(name, drafts, plain, 1.5)]


def many() -> list[str]:
    """Give the prompts of all streams."""
    return [prompts.story() for _ in range(STREAMS)]
