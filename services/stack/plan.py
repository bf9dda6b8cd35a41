"""What the stack runs, and with which environment."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway.keys import VARIABLES, without_keys
from services.stack.processes import Process
from services.stack.settings import StackSettings, environment_name

SERVICES = ("registry", "trainer", "inference")


def python(*words: str) -> list[str]:
    """Give a command line of this interpreter; -P keeps the caller's folder off the path."""
    return [sys.executable, "-P", "-m", *words]


def environment(settings: StackSettings, database: str, tracking: str) -> dict[str, str]:
    """Give the children's environment: ours, with real ports and addresses, and no API key."""
    return {
        **without_keys(os.environ),
        **port_environment(settings),
        "MLX_HUB_HOME": str(settings.home),
        "DATABASE_URL": database,
        "MLFLOW_TRACKING_URI": tracking,
        "PYTHONUNBUFFERED": "1",
    }


def port_environment(settings: StackSettings) -> dict[str, str]:
    """Give the ports as the settings of a child."""
    return {environment_name(name): str(getattr(settings, name)) for name in settings.ports}


def processes(env: Mapping[str, str], logs: Path) -> dict[str, Process]:
    """List the services and the gateway, by name, in the order of their start."""
    parts = {
        name: Process(name, service_command(name), logs / f"{name}.log", env=env)
        for name in SERVICES
    }
    keys = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    log = logs / "gateway.log"
    return {**parts, "gateway": Process("gateway", python("gateway"), log, env={**env, **keys})}


def service_command(name: str) -> list[str]:
    """Give the command line of a service."""
    return python(f"services.{name}")


def migration(env: Mapping[str, str], logs: Path) -> Process:
    """Give the child that brings the database to the newest revision."""
    return Process("migrations", python("migrations", "upgrade"), logs / "migrations.log", env=env)


def ports(settings: StackSettings, database: str) -> dict[str, int | str]:
    """Give what run/ports.json tells."""
    named = {name.removesuffix("_port"): getattr(settings, name) for name in settings.ports}
    return {"gateway": named.pop("port"), **named, "database_url": database}
