"""Prompts with what the base model and a version answered, side by side."""

from collections.abc import Iterable

from mlx_hub.cli.output import literal
from mlx_hub.registry.v1.version_sample_pb2 import SampleAnswer, SampleTurn, VersionSample
from rich.console import Console
from rich.table import Table


def print_samples(samples: Iterable[VersionSample], ui: Console) -> None:
    """Print each prompt over a column before and a column after the training."""
    for number, sample in enumerate(samples, 1):
        ui.print(literal(f"{number}. {_prompt(sample)}", style="bold"))
        table = Table("BEFORE", "AFTER", box=None, pad_edge=False, expand=True)
        for column in table.columns:
            column.ratio = 1
        table.add_row(*(literal(_text(answer)) for answer in (sample.base, sample.version)))
        ui.print(table)


def _prompt(sample: VersionSample) -> str:
    """A single user's message as it is; else each turn with its role."""
    if len(sample.turns) == 1 and sample.turns[0].role in ("", "user"):
        return sample.turns[0].content
    return "\n   ".join(_turn(turn) for turn in sample.turns)


def _turn(turn: SampleTurn) -> str:
    return f"{turn.role}: {turn.content}"


def _text(answer: SampleAnswer) -> str:
    return f"{answer.text}…" if answer.cut else answer.text
