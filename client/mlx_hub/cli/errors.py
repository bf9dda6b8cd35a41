"""How a failed command ends: one clear line on stderr and an exit code by kind of error."""

from collections.abc import Mapping
from typing import Any

import typer
from mlx_hub.cli.guide import GuidingGroup
from mlx_hub.cli.output import printable
from mlx_hub.client import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    HubError,
    Invalid,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

EXIT_CODES: Mapping[type[HubError], int] = {
    Invalid: 2,
    NotFound: 3,
    AlreadyExists: 4,
    FailedPrecondition: 4,
    Aborted: 4,
    Unavailable: 5,
    DeadlineExceeded: 5,
    Exhausted: 6,
    Unauthenticated: 7,
    PermissionDenied: 7,
}
MEANINGS: Mapping[int, str] = {
    0: "done",
    1: "anything else, such as a job that failed or a check that found something",
    2: "wrong usage, or the hub found the request invalid",
    3: "not found",
    4: "exists already, or is not in a state that allows this",
    5: "the hub, or a part of it, does not answer",
    6: "a queue, the memory or the disk is full",
    7: "the hub wants an API key, or that key may not do this",
    130: "interrupted by Ctrl-C",
}


def exit_code(error: HubError) -> int:
    """The exit code of an error's kind."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def describe(error: HubError) -> str:
    """One line for a person: what, where and under which reason to look it up."""
    field = f"{error.field}: " if error.field and error.field not in error.message else ""
    reason = f" [{error.reason}]" if error.reason else ""
    message = error.message or type(error).__name__
    return printable(f"error: {field}{message}{reason}")


class HubGroup(GuidingGroup):
    """A group of commands whose failures are lines, never tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; end with the exit code of what the hub answered."""
        try:
            return super().invoke(ctx)
        except HubError as error:
            typer.echo(describe(error), err=True)
            raise typer.Exit(exit_code(error)) from None
