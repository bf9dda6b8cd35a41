"""The `mlx-hub` command with stand-ins for the services: `python -m …stand_in_stack up`."""

from mlx_hub.cli.main import main

from services.stack import plan


def stand_in(name: str) -> list[str]:
    """Give the command line of a stand-in."""
    return plan.python("tests.integration.stand_in", name)


if __name__ == "__main__":
    plan.service_command = stand_in
    main()
