"""Which code trains: the commit of the checkout it runs from, and the lock it was installed by."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Code:
    """The code as it was when an attempt began; empty where it is not known."""

    commit: str = ""
    dirty: bool = False
    lock_digest: str = ""


def inspect(root: Path = ROOT) -> Code:
    """Look at the checkout; code that was installed from a wheel has no commit."""
    lock = root / "requirements.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""
    # A checkout of something else around our installed code says nothing about it.
    if _git(root, "rev-parse", "--show-toplevel") != str(root):
        return Code(lock_digest=digest)
    commit = _git(root, "rev-parse", "HEAD")
    return Code(commit, bool(commit and _git(root, "status", "--porcelain")), digest)


def _git(root: Path, *words: str) -> str:
    """Ask git; without git or a repository the answer is empty."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "--no-optional-locks", *words],
            capture_output=True,
            text=True,
            errors="replace",  # a file's name is whatever bytes it is
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
