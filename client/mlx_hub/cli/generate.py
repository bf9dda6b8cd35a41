"""`mlx-hub generate`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from mlx_hub.cli.answer import Telling
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.options import Options, takes
from mlx_hub.cli.output import JsonOption, emit, plain
from mlx_hub.cli.session import find_model, hub, split_version

SAMPLING: Options = {
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
    "drafting": (bool, "Guess tokens, and check them.", None),
    "cache_prompt": (bool, "Reuse and keep the prompt.", None),
    "cache_salt": (str, "Share it by this salt only.", None),
}

AskedArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=model_names,
        metavar="MODEL[:VERSION]",
        help="`NAME:base` asks the base model.",
    ),
]


@takes(SAMPLING)
def generate(
    ctx: typer.Context,
    model: AskedArgument,
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
        **{option: ctx.params[option] for option in SAMPLING},
    )
    with stream:
        if json:
            emit(plain(stream.result()))
        else:
            telling = Telling(stream)
            telling.run()
            telling.tell_speed()


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
