"""A job's progress as it happens: live in a terminal, as plain lines elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from mlx_hub.cli.curve import Curve, evaluated, guard_line, sparkline, status_name
from mlx_hub.cli.output import literal
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_PLAIN_LINES = 20


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
    with Live(_panel(curve), console=ui, refresh_per_second=8) as live:
        yield lambda event: live.update(_panel(curve))


def _panel(curve: Curve) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(curve.total_steps, 1), completed=curve.step, width=24)
    status = status_name(curve.job) if curve.job.id else "connecting"
    numbers = curve.numbers() if curve.train else curve.memory or curve.numbers()
    row.add_row(Text(status, style="bold"), bar, Text(numbers))
    lines: list[RenderableType] = [row, Text(sparkline(curve.train, 60), style="cyan")]
    if curve.note:
        lines.append(Text(curve.note, style="yellow"))
    lines += [literal(evaluated(result)) for result in curve.evaluations.values()]
    return Group(*lines)


@contextmanager
def _plain(ui: Console, curve: Curve) -> Iterator[Callable[[TrainingEvent], None]]:
    def show(event: TrainingEvent) -> None:
        match event.WhichOneof("event"):
            case "job":
                ui.print(literal(f"job {event.job.id} is {status_name(event.job)}"))
            case "step":
                every = max(1, curve.total_steps // _PLAIN_LINES)
                if curve.step % every == 0 or curve.step == curve.total_steps:
                    ui.print(literal(curve.numbers()))
            case "validation":
                ui.print(
                    literal(
                        f"step {event.validation.step}  val loss {event.validation.val_loss:.3f}"
                    )
                )
            case "checkpoint":
                ui.print(literal(f"step {event.checkpoint.step}  checkpoint saved"))
            case "memory_wait" | "forecast":
                ui.print(literal(curve.memory))
            case "evaluation":
                ui.print(literal(evaluated(event.evaluation)))
        if line := guard_line(event):
            ui.print(literal(line))

    yield show
