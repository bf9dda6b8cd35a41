"""Losses and metrics drawn in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import plotext  # type: ignore[import-untyped]
from mlx_hub.cli.curve import Curve
from mlx_hub.registry.v1.quality_trend_pb2 import QualitySeries
from rich.console import Console
from rich.text import Text

_WIDTH, _HEIGHT = 76, 18
_TICKS = 8


type _Drawn = tuple[str, Mapping[int, float], str, str]


class _Canvas(Protocol):
    def string(self, *, colorless: bool) -> str: ...


def print_losses(curve: Curve, ui: Console) -> None:
    """Draw the training and the validation loss over the steps."""
    curves = (
        ("validation", curve.valid, "•", "orange"),
        ("train", curve.train, "braille", "cyan"),
    )
    _draw("loss over steps", curves)
    last = max((*curve.train, *curve.valid), default=0)
    highest = max((*curve.train.values(), *curve.valid.values()), default=0.0)
    plotext.figure.legend(x=last, y=highest, ha="right", relative=True)
    _print(ui)


def print_trend(series: QualitySeries, ui: Console) -> None:
    """Draw a metric over the versions, and the base model's value as a line beside it."""
    values = {point.version: point.value for point in series.points}
    based = series.HasField("base_value")
    line = dict.fromkeys((min(values), max(values)), series.base_value) if based else {}
    title = f"{series.metric} over versions" + (", base as a dashed line" if based else "")
    _draw(title, (("", line, "braille", "orange"), ("", values, "•", "cyan")))
    versions = sorted(values)
    ticks = versions[:: -(-len(versions) // _TICKS)]
    plotext.figure.ruler("x").ticks(ticks, [str(version) for version in ticks])
    _print(ui)


def _draw(title: str, curves: Sequence[_Drawn]) -> None:
    figure = plotext.figure
    figure.clear.all()
    figure.theme("colorless")
    for label, values, symbol, colour in curves:
        if values:
            xs = sorted(values)
            marker = plotext.marker(symbol, plotext.pixel(colour))
            signal = figure.signal(xs, [values[x] for x in xs], marker=marker)
            figure.draw((signal.label(label) if label else signal).lines())
    figure.title(title)


def _print(ui: Console) -> None:
    plotext.figure.plot_size(min(_WIDTH, ui.width), _HEIGHT)
    canvas = cast(_Canvas, plotext.figure.build())
    ui.print(Text.from_ansi(canvas.string(colorless=not ui.is_terminal).rstrip()))
