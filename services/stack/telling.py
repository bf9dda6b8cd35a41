"""How the operator's verbs speak: steps as they come, and what went wrong in one line."""

import contextlib
from collections.abc import Iterator

import typer

from services.stack.errors import StackError


def say(step: str) -> None:
    """Tell a step."""
    typer.echo(f"  {step}")


def say_aside(step: str) -> None:
    """Tell a step beside an output that a program reads."""
    typer.echo(f"  {step}", err=True)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what went wrong into words on stderr and exit code 1."""
    try:
        yield
    except (StackError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
