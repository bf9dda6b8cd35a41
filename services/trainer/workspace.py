"""Where a job's files lie, and which of them are still needed."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.joblog.folder import JobLogs
from services.trainer.joblog.scrub import Scrubber

# A failed job's checkpoints help to find out why; those of the newest few are kept.
KEPT_FAILURES = 3


class Workspace:
    """The folders of jobs under STORAGE_ACTIVE_PATH, and the jobs' logs."""

    def __init__(self, active: Path, logs: Path) -> None:
        """Take the roots; nothing is made yet."""
        self._active = active
        self.logs = JobLogs(logs / "jobs", Scrubber.of_this_process(active, logs.parent))

    def checkpoints(self, job: TrainingJob) -> Path:
        """Give the folder of a job's checkpoints, over all attempts."""
        return self._folder(job.id) / "checkpoints"

    def staged(self, job: TrainingJob) -> Path:
        """Give the folder that this attempt's finished adapter will have."""
        return self._folder(job.id) / f"attempt-{job.attempt}"

    def relative(self, path: Path) -> str:
        """Name a path as the registry knows it: relative to STORAGE_ACTIVE_PATH."""
        return path.relative_to(self._active).as_posix()

    def prepare(self, job: TrainingJob) -> None:
        """Make the job's folder."""
        self._folder(job.id).mkdir(parents=True, exist_ok=True)

    def job_ids(self) -> list[int]:
        """List the jobs that have a folder."""
        return [int(p.name) for p in self._jobs().glob("*") if p.name.isdecimal()]

    def sweep(self, statuses: Mapping[int, JobStatus]) -> None:
        """Remove old logs, and the folders of jobs that ended, but for the newest failures."""
        self.logs.sweep()
        folders = self.job_ids()
        failed = [n for n in folders if statuses.get(n) is JobStatus.FAILED]
        keep = set(sorted(failed)[-KEPT_FAILURES:])
        keep |= {n for n, s in statuses.items() if s in (JobStatus.QUEUED, JobStatus.RUNNING)}
        for number in set(folders) - keep:
            shutil.rmtree(self._folder(number), ignore_errors=True)

    def _jobs(self) -> Path:
        return self._active / "jobs"

    def _folder(self, job_id: int) -> Path:
        return self._jobs() / str(job_id)
