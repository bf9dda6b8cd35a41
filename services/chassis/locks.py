"""Locks of open files (flock): whatever ends their holder, the system lets go of them."""

import fcntl
import time
from typing import IO

_PAUSE_SECONDS = 0.01


def lock(file: IO[bytes] | IO[str] | int, how: int = fcntl.LOCK_EX, *, seconds: float = 0) -> bool:
    """Lock a file; give False when somebody else holds it for longer than `seconds`.

    It blocks its thread meanwhile. Closing the file, in every process that inherited it, unlocks.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
        time.sleep(_PAUSE_SECONDS)
