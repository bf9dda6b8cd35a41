"""A row's adapter, carried where MLX-LM's batch carries the row's keys and values.

So rows and adapters stay together when it inserts, reorders and drops rows.
"""

from typing import Any


class RowTag:
    """A cache entry without keys and values: the adapter slot of each row.

    And the end of its prompt that is still to be read, together with its last token, which
    MLX-LM's batch would take a pass more for.
    """

    state: tuple[()] = ()
    nbytes = 0

    def __init__(self, slots: list[int], unread: list[list[int]] | None = None) -> None:
        """Take the slots in row order."""
        self.slots = slots
        self.unread = unread or [[] for _ in slots]

    @classmethod
    def merge(cls, tags: list["RowTag"]) -> "RowTag":
        """Join single rows into a batch."""
        joined = cls([])
        for tag in tags:
            joined.extend(tag)
        return joined

    def extend(self, other: "RowTag") -> None:
        """Append another batch's rows."""
        self.slots = [*self.slots, *other.slots]
        self.unread = [*self.unread, *other.unread]

    def filter(self, keep: list[int]) -> None:
        """Keep some rows."""
        self.slots = [self.slots[index] for index in keep]
        self.unread = [self.unread[index] for index in keep]

    def extract(self, index: int) -> "RowTag":
        """Give one row."""
        return RowTag([self.slots[index]], [self.unread[index]])

    def is_trimmable(self) -> bool:
        """Dropping a row's last tokens changes no slot."""
        return True

    def trim(self, tokens: int) -> int:
        """Drop nothing."""
        return tokens

    def prepare(self, **_padding: Any) -> None:
        """Padding changes no row's slot."""

    def finalize(self) -> None:
        """Padding changes no row's slot."""
