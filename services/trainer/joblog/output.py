"""What a worker printed, cut into what is shown: its log's lines with their level, and the rest.

A stack trace is left out but for its last line, which says what was wrong.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime

from services.trainer.joblog.lines import Draft, Level, Source

_TRACE = re.compile(r"[\s+|]*(Exception Group )?Traceback \(most recent call last\):")
_FRAME = re.compile(r"\s+File \".*\", line \d+")
_BETWEEN = ("During handling of the above", "The above exception was the direct cause")
_BAD = re.compile(r"\b(error|fatal|abort|terminat|segmentation|uncaught|killed)", re.IGNORECASE)

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

type Scrub = Callable[[str], str]


def spoken(output: bytes, start: int, printed_at: datetime, scrub: Scrub) -> Iterator[Draft]:
    """Give what whole lines of a worker's output say; `start` is where they begin in it."""
    traced = False
    taken = start
    for raw in output.splitlines(keepends=True):
        taken += len(raw)
        # A bar that a program draws over itself is shown as it was last.
        text = raw.decode(errors="replace").rstrip().rsplit("\r", 1)[-1]
        if _TRACE.match(text) or text.startswith(_BETWEEN):
            traced = True
        elif not text or _FRAME.match(text) or (traced and text[0] in " \t|+"):
            continue
        elif logged := _logged(text):
            moment = datetime.fromisoformat(logged["time"])
            level = Level.ERROR if logged["level"] == "CRITICAL" else Level(logged["level"].lower())
            yield Draft(scrub(logged["message"]), level, Source.WORKER, moment, taken)
            traced = False
        else:
            level = Level.ERROR if traced or _BAD.search(text) else Level.INFO
            yield Draft(scrub(text), level, Source.WORKER, printed_at, taken)
            traced = False


def _logged(text: str) -> dict[str, str]:
    """Give what `services.chassis.logs` wrote; nothing where the line is something else."""
    try:
        found = json.loads(text) if text.startswith('{"time": ') else {}
    except ValueError:
        return {}
    # Only its own shape: whatever else a worker prints is shown as it is.
    sound = isinstance(found.get("message"), str) and found.get("level") in _LEVELS
    return found if sound else {}


def whole_lines(output: bytes, *, final: bool) -> bytes:
    """Give what can be told by now: up to the last line's end, and not the half of a trace."""
    if final:
        return output
    output = output[: output.rfind(b"\n") + 1]
    begun = output.rfind(b"Traceback (most recent call last):")
    if begun >= 0 and all(row[:1] in b" \t|+\n" for row in output[begun:].split(b"\n")[1:-1]):
        return output[: output.rfind(b"\n", 0, begun) + 1]
    return output
