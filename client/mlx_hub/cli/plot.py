"""Losses and metrics drawn in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import plotext  # type: ignore[import-untyped]
from mlx_hub.cli.curve import Curve
from mlx_hub.registry.v1.quality_trend_pb2 import QualitySeries
from rich.console import Console
from rich.text import Text

_WIDTH, _HEIGHT = 76, 18


type _Drawn = tuple[str, Mapping[int, float], str, str]


class _Canvas(Protocol):
    def string(self, *, colorless: bool) -> str: ...


def print_losses(curve: Curve, ui: Console) -> None:
    """Draw the training and the validation loss over the steps."""
    curves = (
        ("validation", curve.valid, "•", "orange"),
        ("train", curve.train, "braille", "cyan"),
    )
    _print("loss over steps", curves, ui)


def print_trend(series: QualitySeries, ui: Console) -> None:
    """Draw a metric over the versions, beside the base model's value if there is one."""
    values = {point.version: point.value for point in series.points}
    ends = (min(values), max(values)) if series.HasField("base_value") else ()
    curves = (
        ("base", dict.fromkeys(ends, series.base_value), "braille", "gray"),
        (series.metric, values, "•", "cyan"),
    )
    _print(f"{series.metric} over versions", curves, ui)


def _print(title: str, curves: Sequence[_Drawn], ui: Console) -> None:
    figure = plotext.figure
    figure.clear.all()
    figure.plot_size(min(_WIDTH, ui.width), _HEIGHT)
    figure.theme("colorless")
    for label, values, symbol, colour in curves:
        if values:
            xs = sorted(values)
            marker = plotext.marker(symbol, plotext.pixel(colour))
            signal = figure.signal(xs, [values[x] for x in xs], marker=marker)
            figure.draw(signal.label(label).lines())
    figure.title(title)
    last = max((x for _, values, _, _ in curves for x in values), default=0)
    highest = max((y for _, values, _, _ in curves for y in values.values()), default=0.0)
    figure.legend(x=last, y=highest, ha="right", relative=True)
    canvas = cast(_Canvas, figure.build())
    ui.print(Text.from_ansi(canvas.string(colorless=not ui.is_terminal).rstrip()))
