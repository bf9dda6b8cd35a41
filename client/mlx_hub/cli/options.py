"""Options that a verb hands to the hub under their own names, as a table."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

# By their names in the contract: the type, what it says, and the flag where that differs.
type Options = dict[str, tuple[Any, str, str | None]]


def takes(options: Options) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command options beside its own; it finds them in the context."""

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True).parameters
        first = [p for p in own.values() if p.kind is not p.KEYWORD_ONLY]
        last = [p for p in own.values() if p.kind is p.KEYWORD_ONLY]
        given = [_parameter(name, *option) for name, option in options.items()]
        whole = inspect.Signature([*first, *given, *last])

        @functools.wraps(command)
        def wrapper(*args: Any, **named: Any) -> Any:
            return command(*args, **{name: value for name, value in named.items() if name in own})

        wrapper.__annotations__ = {p.name: p.annotation for p in whole.parameters.values()}
        wrapper.__signature__ = whole  # type: ignore[attr-defined]
        return wrapper

    return give


def _parameter(name: str, kind: Any, words: str, flag: str | None) -> inspect.Parameter:
    option = typer.Option(*([flag] if flag else []), help=words)
    hint = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
