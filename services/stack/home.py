"""The home folder: whose it is right now, where the stack listens, what a killed stack left."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from services.chassis.locks import lock
from services.chassis.settings import LOOPBACK
from services.stack.errors import StackError
from services.stack.settings import StackSettings, environment_name

LOOK_SECONDS = 0.25
KILL_SECONDS = 5.0


class Home:
    """The folder that one stack at a time may use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.run = path / "run"
        self._lock = self.run / "lock"
        self._ports = self.run / "ports.json"
        self._children = self.run / "children.json"
        self.restoring = self.run / "restoring"
        """Is there from the begin of a restore to its end."""

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the home alone; the operating system frees it however this process ends."""
        # Root hands Postgres to another user, who has to pass through here.
        self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        self.run.mkdir(mode=0o700, exist_ok=True)
        with self._lock.open("a+") as file:
            # Whoever only looks at it holds it for a moment.
            if not lock(file, seconds=LOOK_SECONDS):
                raise StackError(
                    f"A stack already runs on {self.path} (process {self._holder()}). "
                    "`mlx-hub down` stops it; another MLX_HUB_HOME runs beside it."
                )
            if self.restoring.exists():
                raise StackError(
                    f"A restore into {self.path} did not come to its end. Empty that folder, and "
                    "restore again."
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self.end_leftovers()
            yield
            file.truncate(0)

    def holder(self) -> int | None:
        """Give the process id of the stack that runs here."""
        try:
            with self._lock.open() as file:
                return None if lock(file, fcntl.LOCK_SH) else self._holder()
        except FileNotFoundError:
            return None

    def _holder(self) -> int | None:
        text = self._lock.read_text()
        return int(text) if text.isdecimal() else None

    def write_ports(self, ports: Mapping[str, int | str]) -> None:
        """Tell clients where the stack listens, all at once."""
        self._write(self._ports, ports)

    def ports(self) -> dict[str, Any] | None:
        """Give what the running stack wrote, or None while none serves."""
        if self.holder() is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads(self._ports.read_text())
            return found
        return None

    def forget_ports(self) -> None:
        """Say that nothing listens any more."""
        self._ports.unlink(missing_ok=True)

    def record_children(self, pids: list[int]) -> None:
        """Remember the running children, for the case that this process is killed."""
        born = {}
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                born[str(pid)] = psutil.Process(pid).create_time()
        self._write(self._children, born)

    def end_leftovers(self) -> None:
        """Kill the children of a killed stack, where the system didn't (Linux does)."""
        with contextlib.suppress(FileNotFoundError):
            for pid, born in json.loads(self._children.read_text()).items():
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    if psutil.Process(int(pid)).create_time() == born:
                        os.killpg(int(pid), signal.SIGKILL)
            self._children.unlink()
        self.forget_ports()

    def _write(self, path: Path, value: Mapping[str, Any]) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(value, indent=2) + "\n")
        fresh.replace(path)


def stop_holder(home: Home, grace: float) -> bool:
    """Stop the stack that runs on a home; give False when there is none."""
    pid = home.holder()
    if pid is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        if not _ends(process, grace):
            process.kill()
            _ends(process, KILL_SECONDS)
            with home.claim():
                why = f"The stack (process {pid}) did not stop in {grace:g} s; killed it."
                raise StackError(why)
    return True


def _ends(process: psutil.Process, seconds: float) -> bool:
    """Wait for a process's end; tell whether it came.

    psutil's own wait takes a child's exit code from whoever started it, and waits on for a zombie.
    """
    deadline = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def check_addresses(settings: StackSettings) -> None:
    """Refuse addresses of services elsewhere: the stack starts its own, and they ask for no key."""
    for field in ("bind_host", "registry_host", "trainer_host", "inference_host"):
        if getattr(settings, field) != LOOPBACK:
            raise StackError(
                f"{environment_name(field)} is for services that are started one by one, as in "
                "containers; `mlx-hub up` keeps its own on 127.0.0.1. Unset it; MLX_HUB_HOST is "
                "how others reach the gateway."
            )


def check_space(settings: StackSettings) -> None:
    """Refuse to start on a full volume: Postgres and half-written files would suffer first."""
    for folder in (settings.home, settings.storage_active_path, settings.storage_archive_path):
        place = folder
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < settings.min_free_bytes:
            raise StackError(
                f"Only {free / 2**20:.0f} MiB are free on the volume of {folder}; the hub needs "
                f"{settings.min_free_bytes / 2**20:.0f} MiB (MLX_HUB_MIN_FREE_BYTES). "
                "Free some space, or choose another volume by MLX_HUB_HOME."
            )
