"""Write docs/cli.md from the command's own tree: every verb, its arguments and options."""

import sys
from pathlib import Path
from typing import cast

import typer
from mlx_hub.cli.errors import MEANINGS
from mlx_hub.cli.main import whole
from typer.cli import get_docs_for_click

NAME = "mlx-hub"


def document() -> str:
    """Describe the whole command; what was not installed with it is missing here, too."""
    command = typer.main.get_command(whole())
    with command.make_context(NAME, ["--help"], resilient_parsing=True) as context:
        here = cast(typer.Context, context)
        text = get_docs_for_click(obj=command, ctx=here, name=NAME, title="The command line")
    rows = (f"| {code} | {means} |" for code, means in MEANINGS.items())
    table = "\n".join(["**Exit codes**:\n", "| code | meaning |", "|---|---|", *rows])
    return text.replace(str(command.epilog), table).rstrip() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
