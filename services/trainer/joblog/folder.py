"""Where the logs of jobs lie, and how long.

Each job has a folder: `lines.jsonl` is what the API answers, `attempt-N.out` what a worker prints.
Once all of that is taken over it is called `attempt-N.log`, for the operator: there are the stack
traces. A worker writes its file itself, so nothing is lost with whoever reads it.
"""

import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from services.trainer.joblog.file import LogFile
from services.trainer.joblog.lines import Draft, Level, Source
from services.trainer.joblog.output import spoken, whole_lines
from services.trainer.joblog.scrub import Scrubber

KEPT_DAYS = 30
KEPT_BYTES = 2**29
# A worker's own file begins again when it has grown to this.
OUTPUT_BYTES = 16 * 2**20
_PIECE = 2**18


class JobLogs:
    """The logs of all jobs under one folder."""

    def __init__(self, root: Path, scrub: Scrubber) -> None:
        """Take the root; nothing is made yet."""
        self._root = root
        self.scrub = scrub

    def file(self, job_id: int) -> LogFile:
        """Give a job's log; it may have no line yet, or none any more."""
        return LogFile(self._root / str(job_id) / "lines.jsonl")

    def open_output(self, job_id: int, attempt: int) -> BinaryIO:
        """Open what an attempt's worker prints to."""
        path = self._output(job_id, attempt)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.open("ab")

    def take(self, job_id: int, attempt: int, *, final: bool = False) -> None:
        """Turn what a worker printed since into lines; `final` when it prints no more."""
        path = self._output(job_id, attempt)
        if not path.exists():
            return
        log, more = self.file(job_id), True
        while more:
            more = False

            def make(taken: int) -> Sequence[Draft]:
                nonlocal more
                drafts, more = self._read(path, taken, final=final)
                return drafts

            log.append(attempt, make)
        if final:
            path.replace(path.with_suffix(".log"))

    def settle(self, job_id: int, *, before: int | None = None) -> None:
        """Take over what workers left, whose trainer is gone; those of attempts `before` one."""
        left = [path.stem.removeprefix("attempt-") for path in self._folder(job_id).glob("*.out")]
        for attempt in sorted(int(number) for number in left if number.isdecimal()):
            if before is None or attempt < before:
                self.take(job_id, attempt, final=True)

    def sweep(self) -> None:
        """Remove the oldest logs: those of another month, and those that there is no room for."""
        folders = [path for path in self._root.glob("*") if path.name.isdecimal()]
        room, oldest = KEPT_BYTES, time.time() - KEPT_DAYS * 86400
        for changed, folder in sorted(((_changed(f), f) for f in folders), reverse=True):
            room -= sum(path.stat().st_size for path in folder.glob("*"))
            if changed < oldest or room < 0:
                shutil.rmtree(folder, ignore_errors=True)

    def _read(self, path: Path, taken: int, *, final: bool) -> tuple[Sequence[Draft], bool]:
        """Read a piece of a worker's output; tell whether there is more to take at once."""
        stat = path.stat()
        with path.open("rb") as file:
            file.seek(taken)
            piece = file.read(_PIECE)
        full = len(piece) == _PIECE
        # A line or a trace of a whole piece is no reason to wait for its end.
        whole = whole_lines(piece, final=final and not full) or (piece if full else b"")
        printed_at = datetime.fromtimestamp(stat.st_mtime, UTC)
        drafts = list(spoken(whole, taken, printed_at, self.scrub))
        if full and not drafts:
            drafts = [Draft("…", Level.DEBUG, Source.WORKER, printed_at, taken + len(whole))]
        if not full and not final and stat.st_size >= OUTPUT_BYTES:
            path.open("rb+").truncate(0)
            words = f"the worker printed {stat.st_size} bytes; its file begins again"
            drafts.append(Draft(words, Level.WARNING, taken=0))
        return drafts, full

    def _output(self, job_id: int, attempt: int) -> Path:
        return self._folder(job_id) / f"attempt-{attempt}.out"

    def _folder(self, job_id: int) -> Path:
        return self._root / str(job_id)


def _changed(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*")), default=0.0)
