"""`make setup` installs what changed, and nothing when nothing did."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = ("requirements.lock", "requirements-dev.lock", "requirements-starter.lock", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a checkout whose uv only writes down what it is asked."""
    for name in (*READ, "client/pyproject.toml", ".venv/bin/python", ".cache/mlflow/.stamp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / ".venv/bin/python").chmod(0o755)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/bootstrap.sh", tmp_path / "scripts")
    uv = tmp_path / ".cache/uv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text('#!/bin/sh\necho "$@" >> asked\n')
    uv.chmod(0o755)
    return tmp_path


def asked(checkout: Path, what: str = "run") -> str:
    """Set up what running or developing needs; give what uv was asked for it."""
    (checkout / "asked").unlink(missing_ok=True)
    subprocess.run([checkout / "scripts/bootstrap.sh", what], check=True, capture_output=True)
    return (checkout / "asked").read_text() if (checkout / "asked").exists() else ""


@pytest.mark.parametrize("developing", [False, True])
def test_a_second_setup_installs_nothing(checkout: Path, developing: bool) -> None:
    if developing:
        (checkout / ".venv/.stamp-dev").touch()
    lock = "requirements-dev.lock" if developing else "requirements.lock"
    assert f"--require-hashes {lock}\n" in asked(checkout)
    assert asked(checkout) == ""
    (checkout / "requirements.lock").write_text("another\n")
    assert f"--require-hashes {lock}\n" in asked(checkout)


def test_what_development_needs_has_all_that_running_needs(checkout: Path) -> None:
    (checkout / "requirements-mlflow.lock").write_text("requirements-mlflow.lock\n")
    (checkout / ".cache/mlflow/.stamp").write_text("requirements-mlflow.lock\n")
    assert "--require-hashes requirements-dev.lock\n" in asked(checkout, "dev")
    assert asked(checkout) == ""
