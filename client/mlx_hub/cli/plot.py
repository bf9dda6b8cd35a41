"""Losses drawn in the terminal."""

from typing import Protocol, cast

import plotext  # type: ignore[import-untyped]
from mlx_hub.cli.curve import Curve
from rich.console import Console
from rich.text import Text

_WIDTH, _HEIGHT = 76, 18


class _Canvas(Protocol):
    def string(self, *, colorless: bool) -> str: ...


def print_losses(curve: Curve, ui: Console) -> None:
    """Draw the training and the validation loss over the steps."""
    figure = plotext.figure
    figure.clear.all()
    figure.plot_size(min(_WIDTH, ui.width), _HEIGHT)
    figure.theme("colorless")
    curves = [
        ("validation", curve.valid, "•", "orange"),
        ("train", curve.train, "braille", "cyan"),
    ]
    for label, losses, symbol, colour in curves:
        if losses:
            steps = sorted(losses)
            marker = plotext.marker(symbol, plotext.pixel(colour))
            signal = figure.signal(steps, [losses[step] for step in steps], marker=marker)
            figure.draw(signal.label(label).lines())
    figure.title("loss over steps")
    last = max((*curve.train, *curve.valid), default=0)
    highest = max((*curve.train.values(), *curve.valid.values()), default=0.0)
    figure.legend(x=last, y=highest, ha="right", relative=True)
    canvas = cast(_Canvas, figure.build())
    ui.print(Text.from_ansi(canvas.string(colorless=not ui.is_terminal).rstrip()))
