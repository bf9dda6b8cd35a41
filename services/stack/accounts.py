"""Which account runs Postgres, since it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from services.stack.errors import StackError


@dataclass(frozen=True)
class Account:
    """How to start a program under another account than the stack's own."""

    prefix: tuple[str, ...] = ()
    """Words put before the command."""
    uid: int | None = None
    """The user to become before the command runs; None keeps the stack's own."""
    gid: int | None = None

    @property
    def owner(self) -> int:
        """Give the user id that files of this account must belong to."""
        return os.geteuid() if self.uid is None else self.uid

    def claim(self, folder: Path) -> None:
        """Create a private folder of this account, or take over all of an existing one."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == self.owner:
            return
        group = os.getegid() if self.gid is None else self.gid
        for parent, _, files in os.walk(folder):
            os.chown(parent, self.owner, group)
            for file in files:
                os.chown(Path(parent, file), self.owner, group, follow_symlinks=False)


def account_for(*paths: Path) -> Account:
    """Choose the account that may run Postgres on these paths.

    An ordinary user runs it as itself. Root becomes `postgres` or `nobody`; where
    that user can't reach the paths (a home of mode 700), root enters a user
    namespace instead, in which it carries that user's id and keeps its own access.
    """
    if os.geteuid() != 0:
        return Account()
    user = _unprivileged_user()
    if all(reachable(path) for path in paths):
        return Account(uid=user.pw_uid, gid=user.pw_gid)
    prefix = _namespace(user)
    if not _runs(prefix):
        raise StackError(
            f"Postgres can't run as root, and the user {user.pw_name!r} can't reach "
            f"{' and '.join(str(path) for path in paths if not reachable(path))}. "
            "Set MLX_HUB_HOME to a folder outside of /root, start as an ordinary user, "
            "or point DATABASE_URL at a Postgres of your own."
        )
    return Account(prefix=prefix)


def reachable(path: Path) -> bool:
    """Tell whether every user may pass through all folders down to the path."""
    existing = path.resolve()
    while not existing.exists():
        existing = existing.parent
    return all(folder.stat().st_mode & 0o001 for folder in (existing, *existing.parents))


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "_postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        "Postgres can't run as root, and there is no user 'postgres' or 'nobody' to run it as. "
        "Start as an ordinary user, or point DATABASE_URL at a Postgres of your own."
    )


def _namespace(user: pwd.struct_passwd) -> tuple[str, ...]:
    ids = (f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}")
    return (shutil.which("unshare") or "unshare", "--user", *ids, "--")


def _runs(prefix: tuple[str, ...]) -> bool:
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return False
    return True
