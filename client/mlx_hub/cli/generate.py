"""`mlx-hub generate`."""

import sys
import time
from typing import Annotated

import typer
from mlx_hub.cli.engines import progress
from mlx_hub.cli.output import JsonOption, emit, plain, printable
from mlx_hub.cli.session import find_model, hub, passed_on, split_version
from mlx_hub.client import TokenStream
from mlx_hub.inference.v1.residency_pb2 import Loading


def generate(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION]", help="`NAME:base` asks the base model.")
    ],
    prompt: Annotated[str, typer.Argument(help="What to ask; `-` reads it from stdin.")],
    *,
    system: Annotated[str, typer.Option(help="What to tell the model first.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Continue it; no chat template.")] = False,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens at most.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0: always the likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Likeliest up to this mass.")] = None,
    top_k: Annotated[int | None, typer.Option(help="The k likeliest.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Drop below this share.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: fewer.")] = None,
    presence_penalty: Annotated[float | None, typer.Option(help="Less of what is there.")] = None,
    frequency_penalty: Annotated[float | None, typer.Option(help="By how often it is.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before it; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    json: JsonOption = False,
) -> None:
    """Answer a prompt, printing tokens as they are made."""
    if raw and system:
        raise typer.BadParameter("--raw has no chat template that could hold --system")
    here = hub(ctx)
    name, version = split_version(model)
    text = sys.stdin.read() if prompt == "-" else prompt
    turns = [("system", system), ("user", text)] if system else [("user", text)]
    stream = here.stream(
        find_model(here, name).id,
        text if raw else "",
        messages=() if raw else [{"role": role, "content": content} for role, content in turns],
        version=version,
        **passed_on(ctx, "model", "prompt", "system", "raw", "json"),
    )
    with stream:
        if json:
            emit(plain(stream.result()))
        else:
            typer.echo(_print(stream), err=True)


def _show_loading(loading: Loading) -> None:
    """Overwrite one line of the terminal with how far the model is."""
    typer.echo(f"\r\x1b[K{printable(loading.base_model)}: {progress(loading)}", err=True, nl=False)


def _print(stream: TokenStream) -> str:
    """Print the tokens of a stream and return its speed, measured here."""
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
    return f"{tokens} tokens, {speed}first after {first - start:.2f} s"
