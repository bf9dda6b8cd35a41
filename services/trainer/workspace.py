"""Where a job's files lie, and which of them are still needed."""

import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.joblog.folder import JobLogs
from services.trainer.joblog.scrub import Scrubber

# A failed or cancelled job can be retried from its checkpoints, and a failed one's help to find
# out why; those of the last few to end are kept.
KEPT_UNFINISHED = 3
_ASIDE = "gone-"
_CHECKPOINTS = "checkpoints-"


class Workspace:
    """The folders of jobs under STORAGE_ACTIVE_PATH, and the jobs' logs."""

    def __init__(self, active: Path, logs: Path) -> None:
        """Take the roots; nothing is made yet."""
        self._active = active
        self.logs = JobLogs(logs / "jobs", Scrubber.of_this_process(active, logs.parent))

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

    def job_ids(self) -> list[int]:
        """List the jobs that have a folder."""
        return [int(p.name) for p in self._jobs().glob("*") if p.name.isdecimal()]

    def set_aside(self, job_ids: Iterable[int], statuses: Mapping[int, JobStatus]) -> None:
        """Rename the folders of those of the jobs that are over, so that a sweep removes them.

        Over is a job that has completed, is unknown, or failed or was cancelled before the last
        few that did; `statuses` has those in the order of their ends. A rename is quick: nobody
        waits for a large folder to go.
        """
        unfinished = [
            n for n, s in statuses.items() if s in (JobStatus.FAILED, JobStatus.CANCELLED)
        ]
        keep = set(unfinished[-KEPT_UNFINISHED:])
        keep |= {n for n, s in statuses.items() if s in (JobStatus.QUEUED, JobStatus.RUNNING)}
        for number in set(job_ids) - keep:
            with suppress(OSError):
                self._folder(number).rename(self._jobs() / f"{_ASIDE}{number}-{uuid.uuid4()}")

    def sweep(self) -> None:
        """Remove what was set aside, now or before a crash, and old logs."""
        self.logs.sweep()
        for folder in self._jobs().glob(f"{_ASIDE}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _jobs(self) -> Path:
        return self._active / "jobs"

    def _folder(self, job_id: int) -> Path:
        return self._jobs() / str(job_id)
