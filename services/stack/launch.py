"""A stack in a process of its own: in the background, or for as long as the caller lives."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.stack.errors import StackError
from services.stack.home import Home, stop_holder
from services.stack.plan import port_environment, python
from services.stack.settings import StackSettings, environment_name
from services.stack.stack import Say

STOP_MARGIN = 120.0


@dataclass(frozen=True)
class Running:
    """A stack that serves."""

    port: int
    ours: bool
    """Whether it was started here, and so is to be stopped here."""


def start_detached(settings: StackSettings, say: Say) -> int:
    """Start a stack that outlives this process; give the gateway's port once it serves."""
    return _start(settings, say, None)


@contextlib.contextmanager
def running(settings: StackSettings, say: Say) -> Iterator[Running]:
    """Use the home's running stack, or one that lives as long as this block or process."""
    home = Home(settings.home)
    if found := home.ports():
        yield Running(int(found["gateway"]), ours=False)
        return
    lifeline, held = os.pipe()
    try:
        yield Running(_start(settings, say, lifeline), ours=True)
    finally:
        os.close(held)
        os.close(lifeline)
        stop(settings)


def stop(settings: StackSettings) -> bool:
    """Stop the stack that runs on the home; give False when there is none."""
    # Each of three groups drains in turn, and Postgres after them.
    return stop_holder(Home(settings.home), 3 * settings.drain_seconds + STOP_MARGIN)


def _start(settings: StackSettings, say: Say, lifeline: int | None) -> int:
    log = Path(settings.home, "logs", "stack.log")
    log.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    reader, writer = os.pipe()
    argv = python("services.stack", "--report-fd", str(writer))
    kept = [writer]
    if lifeline is not None:
        argv += ["--lifeline-fd", str(lifeline)]
        kept.append(lifeline)
    with log.open("ab") as output:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **port_environment(settings), **_observed(settings)},
            start_new_session=True,
            pass_fds=kept,
        )
    os.close(writer)
    with os.fdopen(reader) as report:
        return _follow(report, say, log)


def _observed(settings: StackSettings) -> dict[str, str]:
    return {environment_name("observability"): str(settings.observability)}


def _follow(report: Iterator[str], say: Say, log: Path) -> int:
    """Pass the new stack's steps on until it serves or gives up."""
    for line in report:
        told = json.loads(line)
        if "port" in told:
            return int(told["port"])
        if "error" in told:
            raise StackError(told["error"])
        say(told["step"])
    raise StackError(f"The stack ended while it started; {log} says more.")
