"""What the shell offers while a command is typed."""

from itertools import islice

import typer
from mlx_hub.cli.session import connect
from mlx_hub.client import HubError

_SECONDS = 0.5
_MOST = 100


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer models by name; nothing, and silently, where no hub answers soon."""
    try:
        with connect(ctx, timeout=_SECONDS) as here:
            return [model.name for model in islice(here.models.list(name_prefix=incomplete), _MOST)]
    except HubError:
        return []
