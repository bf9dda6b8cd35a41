"""`mlx-hub generate`."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from mlx_hub.cli.engines import progress
from mlx_hub.cli.options import Options, takes
from mlx_hub.cli.output import JsonOption, emit, plain, printable
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.client import TokenStream
from mlx_hub.inference.v1.residency_pb2 import Loading

_SAMPLING: Options = {
    "max_tokens": (int, "Tokens at most.", None),
    "temperature": (float, "0: always the likeliest.", None),
    "top_p": (float, "Likeliest up to this mass.", None),
    "top_k": (int, "The k likeliest.", None),
    "min_p": (float, "Drop below this share.", None),
    "repetition_penalty": (float, "Above 1: fewer.", None),
    "presence_penalty": (float, "Less of what is there.", None),
    "frequency_penalty": (float, "By how often it is.", None),
    "stop": (list[str], "End before it; repeatable.", None),
    "seed": (int, "Makes sampling repeatable.", None),
    "drafting": (bool, "Guess tokens that repeat.", None),
    "cache_prompt": (bool, "Reuse and keep the prompt.", None),
    "cache_salt": (str, "Share it by this salt only.", None),
}


@takes(_SAMPLING)
def generate(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION]", help="`NAME:base` asks the base model.")
    ],
    prompt: Annotated[str, typer.Argument(help="What to ask; `-` reads it from stdin.")],
    *,
    system: Annotated[str, typer.Option(help="What to tell the model first.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Continue it; no chat template.")] = False,
    schema: Annotated[
        Path | None, typer.Option(help="JSON schema that the answer fits.", dir_okay=False)
    ] = None,
    regex: Annotated[str, typer.Option(help="What the whole answer matches.")] = "",
    choice: Annotated[list[str] | None, typer.Option(help="One answer; repeatable.")] = None,
    json: JsonOption = False,
) -> None:
    """Answer a prompt, printing tokens as they are made."""
    if raw and system:
        raise typer.BadParameter("--raw has no chat template that could hold --system")
    if sum(map(bool, (schema, regex, choice))) > 1:
        raise typer.BadParameter("give one of --schema, --regex and --choice")
    here = hub(ctx)
    name, version = split_version(model)
    stream = here.stream(
        find_model(here, name).id,
        version=version,
        **_asked(sys.stdin.read() if prompt == "-" else prompt, system, raw),
        response_schema=_read(schema) if schema else None,
        regex=regex or None,
        choice=choice or None,
        **{option: ctx.params[option] for option in _SAMPLING},
    )
    with stream:
        if json:
            emit(plain(stream.result()))
        else:
            typer.echo(_print(stream), err=True)


def _asked(text: str, system: str, raw: bool) -> dict[str, Any]:
    """Ask by messages, or for the plain text to be continued."""
    turns = [("system", system), ("user", text)] if system else [("user", text)]
    if raw:
        return {"prompt": text}
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _read(schema: Path) -> str:
    try:
        return schema.read_text()
    except (OSError, UnicodeError) as error:
        raise typer.BadParameter(f"{schema} can't be read") from error


def _show_loading(loading: Loading) -> None:
    """Overwrite one line of the terminal with how far the model is."""
    typer.echo(f"\r\x1b[K{printable(loading.base_model)}: {progress(loading)}", err=True, nl=False)


def _print(stream: TokenStream) -> str:
    """Print the tokens of a stream; return its speed, measured here, and its name."""
    if sys.stderr.isatty():
        stream.on_loading = _show_loading
    start = time.monotonic()
    first = None
    for text in stream:
        if first is None:
            first = time.monotonic()
            if stream.on_loading:
                typer.echo("\r\x1b[K", err=True, nl=False)
        typer.echo(printable(text), nl=False)
    end = time.monotonic()
    typer.echo()
    tokens, first = stream.completion.tokens, first or end
    # The first token's time is the prompt's: the speed is that of the others.
    speed = f"{(tokens - 1) / (end - first):.1f} tok/s, " if tokens > 1 and end > first else ""
    told = f"{tokens} tokens, {speed}first after {first - start:.2f} s"
    return f"{told}; generation {stream.completion.generation_id}"
