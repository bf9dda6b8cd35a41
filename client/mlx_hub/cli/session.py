"""What every command needs first: the hub, and the thing that its argument names."""

import re
from typing import Any

import typer
from mlx_hub.client import Hub
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.model_pb2 import Model


def hub(ctx: typer.Context) -> Hub:
    """Connect to the hub; it is closed when the command ends."""
    return ctx.with_resource(connect(ctx))


def connect(ctx: typer.Context, **more: Any) -> Hub:
    """Connect to the hub of --address as --caller, with --api-key, as the TLS options say."""
    given = ctx.find_root().params
    return Hub(
        given.get("address"),
        caller=given.get("caller"),
        api_key=given.get("api_key") or None,
        root_certificates=given.get("ca_file"),
        insecure=bool(given.get("insecure")),
        **more,
    )


def passed_on(ctx: typer.Context, *own: str) -> dict[str, Any]:
    """The options that go to the hub under their own names: all but the command's own."""
    return {name: value for name, value in ctx.params.items() if name not in own}


def find_model(hub: Hub, reference: str) -> Model:
    """Get a model by its id or, when that is no number, by its name."""
    return hub.models.get(int(reference)) if reference.isdecimal() else hub.models.find(reference)


def find_dataset(hub: Hub, reference: str) -> Dataset:
    """Get a dataset by its id or, when that is no number, by its name."""
    if reference.isdecimal():
        return hub.datasets.get(int(reference))
    return hub.datasets.find(reference)


def pair(text: str) -> tuple[str, str]:
    """Split KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"write {text!r} as KEY=VALUE")
    return key, value


def split_version(reference: str, default: str = "") -> tuple[str, str]:
    """Split MODEL:VERSION or MODEL@ALIAS; a version is a number, an alias or `base`."""
    model, *version = re.split("[:@]", reference, maxsplit=1)
    return model, version[0] if version else default
