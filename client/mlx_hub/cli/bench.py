"""`mlx-hub bench`: how fast the running hub answers, measured from the client's side."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Annotated

import typer
from mlx_hub.cli.generate import AskedArgument
from mlx_hub.cli.output import JsonOption, console, emit, literal
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.client import TokenStream
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PROMPT = "Explain in a few sentences how a lighthouse works."


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: its counts, and when its pieces of text came, in seconds from the asking."""

    tokens: int
    prompt_tokens: int
    times: Sequence[float]


def bench(
    ctx: typer.Context,
    model: AskedArgument,
    *,
    streams: Annotated[int, typer.Option(min=1, max=256, help="Answers at the same time.")] = 4,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="Answers in all.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 64,
    prompt: Annotated[str, typer.Option(help="What to ask.")] = PROMPT,
    json: JsonOption = False,
) -> None:
    """Measure the running hub: time to first text, gaps, tokens/s; other callers count in.

    One answer comes first and is not measured, so that the model is in memory. Prompts are read
    anew each time, as if no answer had a prompt like an earlier one's.
    """
    here = hub(ctx)
    name, version = split_version(model)
    model_id = find_model(here, name).id

    def ask() -> Sample:
        start = time.monotonic()
        turn = {"role": "user", "content": prompt}
        with here.stream(
            model_id,
            messages=[turn],
            version=version,
            max_tokens=max_tokens,
            cache_prompt=False,
        ) as stream:
            return _sample(stream, start)

    ask()
    start = time.monotonic()
    samples = _all(ask, streams, requests, here.close)
    found = {"streams": streams, **summary(samples, time.monotonic() - start)}
    if json:
        emit(found)
    else:
        _show(found)


def _sample(stream: TokenStream, start: float) -> Sample:
    times = [time.monotonic() - start for _ in stream]
    done = stream.completion
    return Sample(done.tokens, done.prompt_tokens, times)


def _all(
    ask: Callable[[], Sample], streams: int, requests: int, give_up: Callable[[], None]
) -> list[Sample]:
    """Ask so often, with a bar on stderr; what runs is given up when one fails."""
    columns = (
        TextColumn("{task.completed} of {task.total} answers"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    ui = console(stderr=True)
    with (
        Progress(*columns, console=ui, transient=True, disable=not ui.is_terminal) as bar,
        ThreadPoolExecutor(streams) as pool,
    ):
        task = bar.add_task("", total=requests)
        futures = [pool.submit(ask) for _ in range(requests)]
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance(task)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            give_up()
            raise
        return [future.result() for future in futures]


def summary(samples: Sequence[Sample], seconds: float) -> dict[str, float]:
    """What the answers come to; seconds are the client's, percentiles over all answers."""
    tokens = sum(sample.tokens for sample in samples)
    firsts = [sample.times[0] for sample in samples if sample.times]
    gaps = [later - sooner for each in samples for sooner, later in pairwise(each.times)]
    return {
        "requests": len(samples),
        "seconds": seconds,
        "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        **_percentiles("ttft_ms", firsts),
        **_percentiles("gap_ms", gaps),
    }


def _percentiles(name: str, seconds: Iterable[float]) -> dict[str, float]:
    """Give the values, in milliseconds, that half and 99 of 100 do not exceed."""
    ordered = sorted(1000 * value for value in seconds)
    if not ordered:
        return {}
    return {f"{name}_p{rank}": ordered[ceil(rank * len(ordered) / 100) - 1] for rank in (50, 99)}


_ROWS = {
    "streams": ("streams at a time", "{:.0f}"),
    "requests": ("answers", "{:.0f}"),
    "seconds": ("seconds in all", "{:.1f}"),
    "prompt_tokens": ("prompt tokens", "{:.0f}"),
    "tokens": ("tokens", "{:.0f}"),
    "tokens_per_second": ("tokens/s, all streams", "{:.1f}"),
    "ttft_ms_p50": ("first text, p50", "{:.0f} ms"),
    "ttft_ms_p99": ("first text, p99", "{:.0f} ms"),
    "gap_ms_p50": ("between pieces of text, p50", "{:.1f} ms"),
    "gap_ms_p99": ("between pieces of text, p99", "{:.1f} ms"),
}


def _show(found: dict[str, float]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, (words, form) in _ROWS.items():
        if name in found:
            table.add_row(literal(words), literal(form.format(found[name])))
    console().print(table)
