"""What a worker printed, cut into what is shown: its log's lines with their level, and the rest.

A stack trace is left out but for its last line, which says what was wrong.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime

from services.trainer.joblog.lines import Draft, Level, Source

_LOGGED = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)"
)
_TRACE = re.compile(r"[\s+|]*(Exception Group )?Traceback \(most recent call last\):")
_FRAME = re.compile(r"\s+File \".*\", line \d+")
_BETWEEN = ("During handling of the above", "The above exception was the direct cause")
_BAD = re.compile(r"\b(error|fatal|abort|terminat|segmentation|uncaught|killed)", re.IGNORECASE)

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
        elif logged := _LOGGED.fullmatch(text):
            moment = datetime.fromisoformat(logged[1]).astimezone()
            level = Level.ERROR if logged[2] == "CRITICAL" else Level(logged[2].lower())
            yield Draft(scrub(logged[3]), level, Source.WORKER, moment, taken)
            traced = False
        else:
            level = Level.ERROR if traced or _BAD.search(text) else Level.INFO
            yield Draft(scrub(text), level, Source.WORKER, printed_at, taken)
            traced = False


def whole_lines(output: bytes, *, final: bool) -> bytes:
    """Give what can be told by now: up to the last line's end, and not the half of a trace."""
    if final:
        return output
    output = output[: output.rfind(b"\n") + 1]
    begun = output.rfind(b"Traceback (most recent call last):")
    if begun >= 0 and all(row[:1] in b" \t|+\n" for row in output[begun:].split(b"\n")[1:-1]):
        return output[: output.rfind(b"\n", 0, begun) + 1]
    return output
