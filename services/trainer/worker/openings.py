"""Which held-out rows are sampled: those of the lowest draws, found in one pass."""

from bisect import insort
from collections.abc import Iterator
from typing import Any

from services.runtime.encoding import opening_messages
from services.runtime.rows import Row, Side, draw

# In UTF-8: samples are to be read.
OPENING_BYTES = 4000


class Openings:
    """A few rows of each held-out side, by draws from (seed, row): equal rows are one."""

    def __init__(self, seed: int = 0, most: int = 0) -> None:
        self._seed = seed
        self._most = most
        self._found: dict[Side, list[tuple[float, int, dict[str, Any]]]] = {
            Side.VALID: [],
            Side.TEST: [],
        }

    def offer(self, side: Side, row: Row, *, whole: bool) -> None:
        """Take a row if it is among the lowest so far; not one that is cut or too long to read."""
        kept = self._found.get(side)
        if not (kept is not None and self._most and whole and _readable(row.content)):
            return
        drawn = draw(f"sample:{self._seed}:".encode() + row.digest)
        if all(drawn != known for known, _, _ in kept):
            insort(kept, (drawn, row.line, row.content), key=lambda found: found[:2])
            del kept[self._most :]

    def of(self, side: Side) -> Iterator[dict[str, Any]]:
        """Give a side's rows."""
        return (content for _, _, content in self._found[side])


def _readable(row: dict[str, Any]) -> bool:
    """Tell whether a row has a prompt, and one that is short enough; of a text only a part is."""
    if "text" in row:
        return True
    asked = (
        [message["content"] for message in opening_messages(row)]
        if "messages" in row
        else [row["prompt"]]
    )
    return 0 < sum(len(text.encode()) for text in asked) <= OPENING_BYTES
