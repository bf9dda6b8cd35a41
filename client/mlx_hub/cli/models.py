"""`mlx-hub models …` and `mlx-hub lineage`."""

from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.output import (
    JsonOption,
    emit,
    moment,
    plain,
    short,
    show_done,
    show_list,
    show_one,
    size,
)
from mlx_hub.cli.session import find_model, hub, pair, split_version
from mlx_hub.cli.tree import show_lineage
from mlx_hub.registry.v1.model_event_pb2 import ModelEventType
from mlx_hub.registry.v1.version_pb2 import VersionStatus

models_app = typer.Typer(no_args_is_help=True, help="Models, their versions and base models.")

ModelArgument = Annotated[
    str, typer.Argument(autocompletion=model_names, metavar="MODEL", help="Name or id of a model.")
]
VersionArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=model_names,
        metavar="MODEL:VERSION",
        help="Version by number or alias; else latest.",
    ),
]


@models_app.command("list")
def list_models(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Option(help="Only names that start so.")] = "",
    tag: Annotated[str, typer.Option(help="Only models with this KEY or KEY=VALUE.")] = "",
    json: JsonOption = False,
) -> None:
    """List models by rising id."""
    show_list(
        hub(ctx).models.list(name_prefix=prefix, tag=tag),
        json,
        {
            "ID": lambda model: model.id,
            "NAME": lambda model: model.name,
            "BASE MODEL": lambda model: model.base_model,
            "TASK": lambda model: model.task_type,
            "CREATED": lambda model: moment(model.created_at),
        },
    )


@models_app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A new name.")],
    *,
    base_model: Annotated[str, typer.Option("--base-model", help="See `models base`.")],
    description: Annotated[str, typer.Option(help="Free text.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable.")] = None,
    json: JsonOption = False,
) -> None:
    """Register a model over an imported base model."""
    tags = dict(pair(text) for text in tag or ())
    model = hub(ctx).models.create(name, base_model, description=description, tags=tags)
    show_one(model, json)


@models_app.command()
def show(ctx: typer.Context, model: ModelArgument, json: JsonOption = False) -> None:
    """Show one model."""
    show_one(find_model(hub(ctx), model), json)


@models_app.command()
def update(
    ctx: typer.Context,
    model: ModelArgument,
    *,
    description: Annotated[str | None, typer.Option(help="Free text; '' empties it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; replaces all tags.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Remove all tags.")] = False,
    json: JsonOption = False,
) -> None:
    """Change a model's description or tags; what you don't say stays."""
    if tag and no_tags:
        raise typer.BadParameter("give --tag or --no-tags, not both")
    tags = dict(pair(text) for text in tag or ()) if tag or no_tags else None
    here = hub(ctx)
    found = find_model(here, model)
    show_one(here.models.update(found.id, description=description, tags=tags), json)


@models_app.command()
def delete(
    ctx: typer.Context,
    model: ModelArgument,
    force: Annotated[bool, typer.Option("--force", help="Although versions are ready.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete a model with its versions and free its name; there is no way back."""
    here = hub(ctx)
    found = find_model(here, model)
    here.models.delete(found.id, force=force)
    show_done(f"deleted model {found.id} ({found.name})", json)


@models_app.command()
def history(ctx: typer.Context, model: ModelArgument, json: JsonOption = False) -> None:
    """List what happened to a model, newest first."""
    here = hub(ctx)
    show_list(
        here.models.history(find_model(here, model).id),
        json,
        {
            "WHEN": lambda event: moment(event.created_at),
            "EVENT": lambda event: (
                ModelEventType.Name(event.type).removeprefix("MODEL_EVENT_TYPE_").lower()
            ),
            "VERSION": lambda event: event.version or "",
            "DETAILS": lambda event: ", ".join(f"{k}={v}" for k, v in event.details.items()),
        },
    )


@models_app.command()
def versions(ctx: typer.Context, model: ModelArgument, json: JsonOption = False) -> None:
    """List a model's versions, newest first."""
    here = hub(ctx)
    show_list(
        here.models.versions(find_model(here, model).id),
        json,
        {
            "VERSION": lambda version: version.version,
            "STATUS": lambda version: (
                VersionStatus.Name(version.status).removeprefix("VERSION_STATUS_").lower()
            ),
            "ALIASES": lambda version: ", ".join(version.aliases),
            "CHECKSUM": lambda version: short(version.checksum),
            "SIZE": lambda version: size(version.size_bytes),
            "METRICS": lambda version: ", ".join(
                f"{name}={value:.4g}" for name, value in sorted(version.metrics.items())
            ),
            "JOB": lambda version: version.job_id or "imported",
            "CREATED": lambda version: moment(version.created_at),
        },
    )


@models_app.command("base")
def list_base_models(ctx: typer.Context, json: JsonOption = False) -> None:
    """List the base models that were imported."""
    show_list(
        hub(ctx).models.base_models(),
        json,
        {
            "ID": lambda base: base.id,
            "NAME": lambda base: base.name,
            "TYPE": lambda base: base.model_type,
            "PARAMETERS": lambda base: f"{base.parameters:,.0f}",
            "SIZE": lambda base: size(base.size_bytes),
            "WEIGHTS": lambda base: base.quantization or ("dense" if base.source else ""),
            "CONTEXT": lambda base: base.context_length,
            "DIGEST": lambda base: short(base.digest),
            "SOURCE": lambda base: f"{base.source} {short(base.source_revision)}".strip(),
        },
    )


@models_app.command()
def lineage(ctx: typer.Context, version: VersionArgument, json: JsonOption = False) -> None:
    """Trace a version to its job, data, base model, code and parameters, or to its import."""
    here = hub(ctx)
    model, number = split_version(version, default="latest")
    found = here.models.lineage(find_model(here, model).id, number)
    if json:
        emit(plain(found))
    else:
        show_lineage(found)
