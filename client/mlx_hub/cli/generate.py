"""`mlx-hub generate`."""

import sys
import time
from typing import Annotated, Any

import typer
from mlx_hub.cli.output import JsonOption, emit, plain, printable
from mlx_hub.cli.session import find_model, hub, passed_on, split_version
from mlx_hub.client import TokenStream


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
    drafting: Annotated[bool | None, typer.Option(help="Guess tokens that repeat.")] = None,
    cache_prompt: Annotated[bool | None, typer.Option(help="Reuse and keep the prompt.")] = None,
    cache_salt: Annotated[str, typer.Option(help="Share it by this salt only.")] = "",
    json: JsonOption = False,
) -> None:
    """Answer a prompt, printing tokens as they are made."""
    if raw and system:
        raise typer.BadParameter("--raw has no chat template that could hold --system")
    here = hub(ctx)
    name, version = split_version(model)
    stream = here.stream(
        find_model(here, name).id,
        version=version,
        **_asked(sys.stdin.read() if prompt == "-" else prompt, system, raw),
        **passed_on(ctx, "model", "prompt", "system", "raw", "json"),
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


def _print(stream: TokenStream) -> str:
    """Print the tokens of a stream; return its speed, measured here, and its name."""
    start = time.monotonic()
    first = None
    for text in stream:
        first = first or time.monotonic()
        typer.echo(printable(text), nl=False)
    end = time.monotonic()
    typer.echo()
    tokens, first = stream.completion.tokens, first or end
    # The first token's time is the prompt's: the speed is that of the others.
    speed = f"{(tokens - 1) / (end - first):.1f} tok/s, " if tokens > 1 and end > first else ""
    told = f"{tokens} tokens, {speed}first after {first - start:.2f} s"
    return f"{told}; generation {stream.completion.generation_id}"
