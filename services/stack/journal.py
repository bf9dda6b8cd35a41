"""A copy of the journal of past answers while the inference service writes to it."""

import contextlib
import sqlite3
from pathlib import Path

from services.stack.errors import StackError


def copy_journal(source: Path, target: Path) -> None:
    """Copy by SQLite itself, which sees a whole moment."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise StackError(
            f"The journal {source} can't be read ({error}); move it away and back up again."
        ) from None
