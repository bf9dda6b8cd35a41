"""A job's progress as it happens: live in a terminal, as plain lines elsewhere."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from mlx_hub.cli.curve import Curve, sparkline, status_name
from mlx_hub.cli.notes import note
from mlx_hub.cli.output import literal
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_PLAIN_LINES = 20
_WIDTH, _NOTES = 60, 3
# What a narrow terminal keeps for the word beside the bar.
_STATUS = 12
# What the numbers and the curve show; any other event is a note below them.
_DRAWN = ("job", "step", "validation")


def follow(events: Iterable[TrainingEvent], ui: Console) -> Curve:
    """Show a job's events until they end, and return what they drew."""
    curve = Curve()
    with (_live if ui.is_terminal else _plain)(ui, curve) as show:
        for event in events:
            curve.add(event)
            show(event)
    return curve


@contextmanager
def _live(ui: Console, curve: Curve) -> Iterator[Callable[[TrainingEvent], None]]:
    notes: deque[str] = deque(maxlen=_NOTES)
    width = min(_WIDTH, ui.width - _STATUS)
    with Live(_panel(curve, notes, width), console=ui, refresh_per_second=8) as live:

        def show(event: TrainingEvent) -> None:
            if event.WhichOneof("event") not in _DRAWN:
                notes.append(note(event))
            live.update(_panel(curve, notes, width))

        yield show


def _panel(curve: Curve, notes: Iterable[str], width: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(curve.total_steps, 1), completed=curve.step, width=width)
    status = status_name(curve.job) if curve.job.id else "connecting"
    row.add_row(bar, Text(status, style="bold"))
    line = Text(sparkline(curve.train, width), style="cyan")
    return Group(row, Text(curve.numbers()), line, *(literal(text, "dim") for text in notes))


@contextmanager
def _plain(ui: Console, curve: Curve) -> Iterator[Callable[[TrainingEvent], None]]:
    told = ""

    def show(event: TrainingEvent) -> None:
        nonlocal told
        if event.WhichOneof("event") != "step":
            # The state that a watch opens with may be the first event, too.
            if (line := note(event)) != told:
                ui.print(literal(line))
            told = line
            return
        told = ""
        every = max(1, curve.total_steps // _PLAIN_LINES)
        if curve.step % every == 0 or curve.step == curve.total_steps:
            ui.print(literal(curve.numbers()))

    yield show
