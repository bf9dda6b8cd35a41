"""`mlx-hub doctor`."""

from typing import Annotated

import typer
from mlx_hub.cli.checkup import Finding, Level, findings
from mlx_hub.cli.output import JsonOption, console, emit, literal, plain, printable
from mlx_hub.cli.session import hub
from mlx_hub.client import Hub, Unavailable
from mlx_hub.inference.v1.residency_pb2 import ListEnginesResponse
from rich.table import Table
from rich.text import Text

STYLES = {Level.OK: "green", Level.ATTENTION: "yellow", Level.BROKEN: "bold red"}
VERDICTS = {
    Level.OK: "All is well.",
    Level.ATTENTION: "It works; something wants your attention.",
    Level.BROKEN: "Something is broken.",
}


def doctor(
    ctx: typer.Context,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Compare files and rows first, and settle them.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Examine services, files and engines, and say what to do; exits 1 if something is broken."""
    here = hub(ctx)
    health = here.health()
    report = here.storage.reconcile() if reconcile else here.storage.report()
    engines = _engines(here)
    found = findings(health, report, engines)
    worst = max(finding.level for finding in found)
    if json:
        named = [{**vars(finding), "level": finding.level.name.lower()} for finding in found]
        emit(
            {
                "verdict": worst.name.lower(),
                "findings": named,
                "health": plain(health),
                "storage": plain(report),
                "engines": plain(engines) if engines else None,
            }
        )
    else:
        console().print(_table(found))
        console().print(literal(VERDICTS[worst], STYLES[worst]))
    if worst is Level.BROKEN:
        raise typer.Exit(1)


def _engines(here: Hub) -> ListEnginesResponse | None:
    """Ask who knows; that it is away is told of the services."""
    try:
        return here.engines.list()
    except Unavailable:
        return None


def _table(found: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in found:
        word = literal(finding.level.name.lower(), STYLES[finding.level])
        table.add_row(word, printable(finding.subject), printable(finding.text))
        if finding.advice:
            table.add_row("", "", Text(f"→ {printable(finding.advice)}"))
    return table
