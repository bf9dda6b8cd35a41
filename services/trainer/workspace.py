"""Where a job's files lie, and which of them are still needed."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from services.trainer.domain import JobStatus, TrainingJob

# A failed job's checkpoints help to find out why; those of the newest few are kept.
KEPT_FAILURES = 3
LOG_BYTES = 10 * 2**20
LOG = "trainer-worker.log"
_CHECKPOINTS = "checkpoints-"


class Workspace:
    """The folders of jobs under STORAGE_ACTIVE_PATH, and the workers' log."""

    def __init__(self, active: Path, logs: Path) -> None:
        """Take the roots; nothing is made yet."""
        self._active = active
        self._logs = logs

    def checkpoints(self, job: TrainingJob) -> Path:
        """Give the folder of this attempt's checkpoints, with those of the attempts before."""
        return self._folder(job.id) / f"{_CHECKPOINTS}{job.attempt}"

    def staged(self, job: TrainingJob) -> Path:
        """Give the folder that this attempt's finished adapter will have."""
        return self._folder(job.id) / f"attempt-{job.attempt}"

    def relative(self, path: Path) -> str:
        """Name a path as the registry knows it: relative to STORAGE_ACTIVE_PATH."""
        return path.relative_to(self._active).as_posix()

    def prepare(self, job: TrainingJob) -> None:
        """Make the folders, and take over the checkpoints of the attempts before.

        The rename is the fence on the disk: a child of an older attempt that still runs, or wakes
        up, finds its folder gone and can neither add a checkpoint nor remove one.
        """
        folder, own = self._folder(job.id), self.checkpoints(job)
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(p.name.removeprefix(_CHECKPOINTS)) for p in folder.glob(f"{_CHECKPOINTS}*")]
        older = sorted(number for number in numbers if number < job.attempt)
        if older and not own.exists():
            (folder / f"{_CHECKPOINTS}{older.pop()}").rename(own)
        for number in older:
            shutil.rmtree(folder / f"{_CHECKPOINTS}{number}", ignore_errors=True)
        own.mkdir(exist_ok=True)

    def open_log(self) -> BinaryIO:
        """Open the workers' log, moved aside when it has grown large."""
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._logs / LOG
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        return path.open("ab")

    def job_ids(self) -> list[int]:
        """List the jobs that have a folder."""
        return [int(p.name) for p in self._jobs().glob("*") if p.name.isdecimal()]

    def sweep(self, folders: Sequence[int], statuses: Mapping[int, JobStatus]) -> None:
        """Remove the folders of ended and unknown jobs, but for the newest failures.

        Of a folder that was not asked about nothing is known: another trainer may have made it.
        """
        failed = [n for n in folders if statuses.get(n) is JobStatus.FAILED]
        keep = set(sorted(failed)[-KEPT_FAILURES:])
        keep |= {n for n, s in statuses.items() if s in (JobStatus.QUEUED, JobStatus.RUNNING)}
        for number in set(folders) - keep:
            shutil.rmtree(self._folder(number), ignore_errors=True)

    def _jobs(self) -> Path:
        return self._active / "jobs"

    def _folder(self, job_id: int) -> Path:
        return self._jobs() / str(job_id)
