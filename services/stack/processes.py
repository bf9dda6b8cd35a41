"""One child process of the stack: own session, own log, never alive without the stack."""

import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from gateway.keys import without_keys
from services.stack.accounts import Account

LOG_BYTES = 10 * 2**20
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Process:
    """A program that can be started again after it ended."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        self.env = without_keys(os.environ) if env is None else dict(env)
        self._account = account or Account()
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Give the process id of the last start."""
        return self._popen.pid if self._popen else None

    def start(self) -> None:
        """Start the program; call it from the main thread.

        Linux ties the child's life to the thread that started it.
        """
        die = functools.partial(_die_with_parent, self._death_signal, os.getpid())
        with _open_log(self.log) as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                [*self._account.prefix, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=None if self._account.uid is None else [],
                preexec_fn=die if sys.platform == "linux" else None,  # noqa: PLW1509 (one prctl)
            )

    def exit_code(self) -> int | None:
        """Give the exit code (minus the signal's number), or None while it runs."""
        return self._popen.poll() if self._popen else 0

    def alive(self) -> bool:
        """Tell whether it runs."""
        return self.exit_code() is None

    def ask_to_stop(self) -> None:
        """Ask it to end, without waiting."""
        if self._popen and self.alive():
            self._popen.send_signal(self._stop_signal)

    def stop(self, grace: float) -> None:
        """Ask it to end, then kill its whole process group after `grace` seconds."""
        if self._popen is None:
            return
        self.ask_to_stop()
        try:
            self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        _kill_group(self._popen.pid)
        self._popen = None

    def last_lines(self, count: int = 15) -> str:
        """Give the end of its log since the last start, for the message about a failed one."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(self._log_start, self.log.stat().st_size - 16_384))
                text = log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-count:])


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab")


def _kill_group(pid: int) -> None:
    """End what the child left behind in its session."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _die_with_parent(death_signal: int, parent: int) -> None:
    """Make the kernel end this child when the stack is gone, even by SIGKILL."""
    _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
