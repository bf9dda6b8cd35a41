"""Files of jobs that nobody needs go, and code is named."""

import os
import subprocess
from pathlib import Path

from services.trainer import provenance
from services.trainer.domain import JobStatus
from services.trainer.workspace import KEPT_UNFINISHED, Workspace


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "active", tmp_path / "logs")
    # In the order of their ends: job 2 was retried and failed again.
    statuses = {
        1: JobStatus.COMPLETED,
        6: JobStatus.FAILED,
        7: JobStatus.CANCELLED,
        8: JobStatus.FAILED,
        9: JobStatus.CANCELLED,
        2: JobStatus.FAILED,
        3: JobStatus.QUEUED,
        4: JobStatus.RUNNING,
    }
    folders = tmp_path / "active" / "jobs"
    for number in (*statuses, 99):
        (folders / str(number) / "checkpoints").mkdir(parents=True)
    found = workspace.job_ids()
    assert sorted(found) == [*sorted(statuses), 99]
    (folders / "100").mkdir()  # since then
    assert KEPT_UNFINISHED == 3
    workspace.set_aside(found, statuses)
    assert sorted(workspace.job_ids()) == [2, 3, 4, 8, 9, 100]
    workspace.sweep()
    assert sorted(path.name for path in folders.iterdir()) == ["100", "2", "3", "4", "8", "9"]


def test_code_is_named_by_its_commit(tmp_path: Path) -> None:
    root = tmp_path / "code"
    root.mkdir()
    assert provenance.inspect(root) == provenance.Code()
    (root / "requirements.lock").write_text("locked")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(["git", "-C", root, *words], check=True)
    code = provenance.inspect(root)
    assert (len(code.commit), code.dirty, len(code.lock_digest)) == (40, False, 64)
    (root / "new").write_text("x")
    assert provenance.inspect(root).dirty
    subprocess.run(["git", "-C", root, "config", "core.quotepath", "false"], check=True)
    (root / os.fsdecode(b"\xff")).write_text("a name that is no text")
    assert provenance.inspect(root).dirty
    inner = root / "inner"
    inner.mkdir()
    assert provenance.inspect(inner).commit == ""
