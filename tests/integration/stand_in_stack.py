"""The `mlx-hub` command with stand-ins for the services: `python -m …stand_in_stack up`."""

from mlx_hub.cli.main import main

from services.stack import importing, plan
from services.stack.settings import StackSettings


def stand_in(name: str) -> list[str]:
    """Give the command line of a stand-in."""
    return plan.python("tests.integration.stand_in", name)


def nothing_to_import(settings: StackSettings) -> bool:
    """Say that a base model is there: a stand-in for the registry knows of none."""
    return True


if __name__ == "__main__":
    plan.service_command = stand_in
    importing.has_base_model = nothing_to_import
    main()
