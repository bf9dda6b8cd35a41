"""Ports of the node: chosen and checked before anything starts."""

import errno
import random
import socket

import psutil

from services.stack.errors import StackError
from services.stack.settings import StackSettings, environment_name

HOST = "127.0.0.1"
# Below what systems hand out to outgoing connections, which could steal a port
# between the choice and the bind.
_CHOICE = range(20_000, 32_000)


def choose(settings: StackSettings) -> StackSettings:
    """Replace every 0 by a free port; refuse a port that is taken or given twice."""
    fixed = {name: getattr(settings, name) for name in settings.ports if getattr(settings, name)}
    for name, port in fixed.items():
        if others := [other for other in fixed if other != name and fixed[other] == port]:
            names = " and ".join(environment_name(n) for n in (name, *others))
            raise StackError(f"Port {port} is given twice, by {names}.")
        if not is_free(port):
            variable = environment_name(name)
            raise StackError(
                f"Port {port} is taken{_owner(port)}. End that program, or choose another port: "
                f"{variable}={port + 10}, or {variable}=0 for any free one."
            )
    taken = set(fixed.values())
    chosen = {name: free_port(taken) for name in settings.ports if name not in fixed}
    return settings.model_copy(update=chosen)


def free_port(taken: set[int]) -> int:
    """Choose a port that nobody listens on and that isn't in `taken`; adds it there."""
    for _ in range(1000):
        port = random.choice(_CHOICE)  # noqa: S311 (no secret)
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise StackError("No free port found; is something listening on all of them?")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise StackError(f"Port {port} can't be used: {error.strerror}.") from error
            return False
    with socket.socket() as probe:
        # Binding beside a listener on all addresses succeeds on macOS.
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) != 0


def _owner(port: int) -> str:
    """Name the program that listens, where the system tells."""
    try:
        listeners = [
            c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid
        ]
        pid = next(c.pid for c in listeners if c.status == psutil.CONN_LISTEN)
        return f" by {psutil.Process(pid).name()} (process {pid})"
    except (psutil.Error, StopIteration):
        return " by another program"
