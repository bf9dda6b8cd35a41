"""`mlx-hub cache`: what the engines keep of prompts."""

from typing import Annotated

import typer
from mlx_hub.cli.output import JsonOption, emit, plain, show_list, show_one, size
from mlx_hub.cli.session import find_model, hub

cache_app = typer.Typer(help="What the engines keep of prompts that they have read.")


@cache_app.callback(invoke_without_command=True)
def show(ctx: typer.Context, json: JsonOption = False) -> None:
    """Show what the engines keep of prompts that they have read."""
    if ctx.invoked_subcommand:
        return
    stats = hub(ctx).cache.stats()
    if json:
        emit(plain(stats))
        return
    columns = {
        "base model": lambda each: each.base_model,
        "kept": lambda each: f"{size(each.bytes)} of {size(each.limit_bytes)}",
        "blocks": lambda each: each.blocks,
        "hits": lambda each: f"{each.hits:.0f}",
        "misses": lambda each: f"{each.misses:.0f}",
        "tokens reused": lambda each: f"{each.tokens_reused:.0f}",
        "on disk": lambda each: size(each.disk_bytes),
    }
    show_list(stats.engines, False, columns)
    typer.echo(f"on disk in all: {size(stats.disk_bytes)} of {size(stats.disk_limit_bytes)}")


@cache_app.command()
def clear(
    ctx: typer.Context,
    *,
    model: Annotated[
        str | None, typer.Option(help="Only for this model's base model; name or id.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Forget it, in memory and on disk."""
    here = hub(ctx)
    show_one(here.cache.clear(find_model(here, model).id if model else 0), json)
