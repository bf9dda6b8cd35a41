"""Files of jobs that nobody needs go; the environment of a child holds no secret."""

import subprocess
from pathlib import Path

import pytest

from services.trainer import child, provenance
from services.trainer.domain import JobStatus
from services.trainer.workspace import KEPT_FAILURES, LOG, LOG_BYTES, Workspace


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "active", tmp_path / "logs")
    statuses = {
        1: JobStatus.COMPLETED,
        2: JobStatus.CANCELLED,
        3: JobStatus.QUEUED,
        4: JobStatus.RUNNING,
        **dict.fromkeys(range(5, 10), JobStatus.FAILED),
    }
    for number in (*statuses, 99):
        (tmp_path / "active" / "jobs" / str(number) / "checkpoints").mkdir(parents=True)
    assert sorted(workspace.job_ids()) == [*statuses, 99]
    workspace.sweep(workspace.job_ids(), statuses)
    assert sorted(workspace.job_ids()) == [3, 4, *range(10 - KEPT_FAILURES, 10)]


def test_a_large_log_is_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_bytes(b"x" * (LOG_BYTES + 1))
    with Workspace(tmp_path / "active", tmp_path).open_log() as file:
        file.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "trainer-worker.old.log").stat().st_size == LOG_BYTES + 1


def test_a_child_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:pass-word@host/db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:pass-word@host")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    environment = child.environment()
    assert "pass-word" not in str(environment)
    assert int(environment["OPENBLAS_NUM_THREADS"]) >= 1


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
    inner = root / "inner"
    inner.mkdir()
    assert provenance.inspect(inner).commit == ""
