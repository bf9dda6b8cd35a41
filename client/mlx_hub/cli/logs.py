"""`mlx-hub jobs logs`: what was said about a job."""

from typing import Annotated

import typer
from mlx_hub.cli.output import JsonOption, console, emit, literal, moment, plain
from mlx_hub.cli.session import hub
from mlx_hub.trainer.v1.training_log_pb2 import (
    TrainingLogLevel,
    TrainingLogLine,
    TrainingLogSource,
)
from rich.text import Text

_STYLES = {
    TrainingLogLevel.TRAINING_LOG_LEVEL_DEBUG: "dim",
    TrainingLogLevel.TRAINING_LOG_LEVEL_WARNING: "yellow",
    TrainingLogLevel.TRAINING_LOG_LEVEL_ERROR: "red",
}


def logs(
    ctx: typer.Context,
    job: Annotated[int, typer.Argument(metavar="JOB", help="Id of a job.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until the job ends.")] = False,
    last: Annotated[int | None, typer.Option(min=0, max=10000, help="Only the last lines.")] = None,
    json: JsonOption = False,
) -> None:
    """Print what the trainer and its worker said about a job; --json prints an object a line."""
    here, ui = hub(ctx).jobs, console()
    if follow:
        lines = here.tail(job, lines=last, after_sequence=0 if last is None else None)
    elif last is None:
        lines = here.logs(job, page_size=1000)
    else:
        newest = zip(range(last), here.logs(job, newest_first=True, page_size=last), strict=False)
        lines = reversed([line for _, line in newest])
    for line in lines:
        if json:
            emit(plain(line), indent=None)
        else:
            ui.print(_render(line), soft_wrap=True)


def _render(line: TrainingLogLine) -> Text:
    source = TrainingLogSource.Name(line.source).removeprefix("TRAINING_LOG_SOURCE_").lower()
    level = TrainingLogLevel.Name(line.level).removeprefix("TRAINING_LOG_LEVEL_").lower()
    head = f"{moment(line.created_at)}  attempt {line.attempt}  {source:<7}  {level:<7}"
    return literal(f"{head}  {line.message}", style=_STYLES.get(line.level, ""))
